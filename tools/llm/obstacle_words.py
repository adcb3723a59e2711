"""Why a vm can't be moved in some way, in closed words."""

from __future__ import annotations

from enum import StrEnum


class ObstacleWord(StrEnum):
    """Why one kind of move is not open to a vm: all that a model is told of it."""

    PROTECTED = "protected"
    """policy never touches it"""
    NODE_SILENT = "node-silent"
    """its node does not answer, so where it runs is not known"""
    STOPPED = "stopped"
    """it is shut off: nothing to move live"""
    PAUSED = "paused"
    """a paused guest can't shut itself down"""
    DEVICES = "devices"
    """passthrough or the like keeps it from moving live"""
    DEFINITION = "definition"
    """something in its definition"""
    DISK_ERROR = "disk-error"
    """an error of its disks paused it"""
    REFUSED_BEFORE = "refused-before"
    """an earlier try was refused"""
    CPU_MODEL = "cpu-model"
    """no sound node has its CPU model"""
    DIRTIES_TOO_FAST = "dirties-too-fast"
    """it rewrites memory faster than the link carries it"""
    PAUSE_TOO_LONG = "pause-too-long"
    """moving live would pause it longer than policy allows"""
    TAKES_TOO_LONG = "takes-too-long"
    """moving live would take longer than policy allows"""
    BY_PRIORITY = "by-priority"
    """policy does not do this with its priority"""
    NO_CONSENT = "no-consent"
    """its owner does not agree to it, or nobody said so"""
    NOT_NEEDED = "not-needed"
    """it can move live: it is not stopped to move"""
    NO_TARGET = "no-target"
    """no node may take vms"""
