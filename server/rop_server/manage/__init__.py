"""The management interface `/manage/v1`: the only path of an engine to this server."""
