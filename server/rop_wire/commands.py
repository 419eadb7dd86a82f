"""Command numbers of core packets. Source: ROP v1.0 wire specification, device-protocol 8."""

from enum import IntEnum


class Command(IntEnum):
    """What a core packet asks for or answers."""

    HEARTBEAT = 0
    LIVE_START = 3
    LIVE_STOP = 4
    REPLAY_START = 5
    REPLAY_STOP = 7
    FILE_INFO = 13
    PTZ = 18
    ALARM = 33
    UPGRADE = 67
    GET_GENERAL = 104
    SET_GENERAL = 105
    SNAPSHOT = 109
    GET_WIFI = 116
    SET_WIFI = 117
    REPLAY_SEEK = 123
    CALENDAR = 142
    KEY_FRAME = 189
    SUPPORT = 199
    TEST_WIFI = 200
    GET_PIR = 212
    SET_PIR = 213
    SLEEP = 233
    HANDSHAKE = 458
    FIND_FILES = 459
    WAKE_UP = 460
    GET_ALARM_SWITCH = 461
    SET_ALARM_SWITCH = 462
    NETWORK_REPORT = 464
