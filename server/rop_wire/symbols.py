"""Error symbols of the client API. Messages are exact, misspellings included.

Source: ROP v1.0 wire specification, client-api 1.1.
"""

from typing import NamedTuple


class Symbol(NamedTuple):
    """HTTP status and message of a symbol."""

    status: int
    message: str


SYMBOLS: dict[str, Symbol] = {
    "invalid_parameter": Symbol(400, "The parameter is not valid."),
    "session_not_found": Symbol(404, "The session is not been found."),
    "session_expired": Symbol(400, "The session is expired."),
    "url_not_found": Symbol(404, "The url is not been found."),
    "up_to_upgrade_session_limit": Symbol(400, "up to upgrade session limit."),
    "duplicate_upgrade": Symbol(400, "the device is upgrading now, do not upgrade again."),
    "invalid_filename": Symbol(400, "the filename is not valid."),
    "duplicate_snap": Symbol(400, "the device is snaping now, do not snap again."),
    "snap_error": Symbol(400, "snap the picture error, please try again."),
    "duplicate_firmware": Symbol(400, "the fireware is the same as before."),
    "device_offline": Symbol(404, "The device is offline, please check the device network."),
    "stream_type_not_support": Symbol(400, "The stream type is not suport on this device."),
    "device_signaling_connection_closed": Symbol(400, "The device signaling connection closed."),
    "code_invalid": Symbol(400, "The code is invalid."),
    "device_connection_not_found": Symbol(404, "The device connnection is not found."),
    "device_channel_not_found": Symbol(404, "The channel of the device  is not found."),
    "device_not_matched": Symbol(400, "The device is not matched."),
    "request_not_found": Symbol(404, "The request is not found."),
    "parse_xml_error": Symbol(404, "The xml data from device is error."),
    "file_not_found": Symbol(404, "The file is not been found."),
    "signature_not_matched": Symbol(400, "The signature is not matched."),
    "cmd_timeout": Symbol(400, "The cmd to device execute time out."),
    "wake_up_timeout": Symbol(400, "The cmd to wake up device time out."),
    "access_key_not_valid": Symbol(400, "The accessKey is not valid."),
    "cmd_not_support": Symbol(400, "The cmd is not support for the device."),
    "cmd_exec_error": Symbol(400, "The cmd is exec error."),
    "direction_not_support": Symbol(400, "The direction is not support for the device."),
    "server_internal_error": Symbol(500, "something unkown happend in the system."),
    "work_dir_not_found": Symbol(500, "the work directory is not been found."),
    "duplicate_create_ca": Symbol(500, "duplicate create ca."),
    # Documented, never sent by the vendor's server (discrepancies B8).
    "auth_failed": Symbol(403, "Authentication failed."),
    "frequent_request": Symbol(429, "Too many requests."),
}


def error_document(symbol: str, message: str | None = None) -> dict[str, dict[str, str]]:
    """The error body of the client API: symbol, message."""
    return {"error": {"symbol": symbol, "message": message or SYMBOLS[symbol].message}}


def device_error_document(symbol: str, message: str | None = None) -> dict[str, dict[str, str]]:
    """The error body of 61001 and 61002: message first (device-protocol 2)."""
    return {"error": {"message": message or SYMBOLS[symbol].message, "symbol": symbol}}
