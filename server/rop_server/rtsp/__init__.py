"""RTSP 1.0 on 61008: players describe, set up and watch streams."""
