"""What users do with items, for cores, which know no generated code."""

import enum


class Action(enum.IntEnum):
    """What a user did with an item; names and numbers are those of homepage.types.v1.Action, and of what is stored."""

    VIEW = 1
    CLICK = 2
    LIKE = 3
    DISLIKE = 4
    HIDE = 5
    PURCHASE = 6
    DWELL = 7
    COMMENT = 8
    SHARE = 9
    RATE = 10
