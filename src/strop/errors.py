"""The errors strop raises on purpose. Each says what happened, where, and the next step.

StropError                       exit code
├── AnswerIsNo                   1    the machinery worked and the answer is no
├── ConfigError                  2    strop.toml, a flag or the environment is wrong
│   └── NotEnoughData            2    fewer usable rows than the floor
├── InputError                   2    a file or record the user named can't be used
├── OutsideServiceError          3    something that strop calls did not answer
│   └── TooLarge                 3    it can't answer for so much at once: ask for less
└── ApprovalPending              75   a run waits for a person
"""

from __future__ import annotations


class StropError(Exception):
    """Base of all errors that reach the user as one message, never as a traceback.

    what: what happened; where: file, key, trace or address; fix: the command or edit that helps.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  next:  {self.fix}")
        return "\n".join(lines)


class AnswerIsNo(StropError):
    """The machinery worked and the answer is no: gate refused, grader broken, budget exceeded."""

    exit_code = 1


class ConfigError(StropError):
    """The configuration, a flag or the environment is wrong."""

    exit_code = 2


class NotEnoughData(ConfigError):
    """There are fewer usable rows than the configured floor."""


class InputError(StropError):
    """A file or record that the user named can't be used."""

    exit_code = 2


class OutsideServiceError(StropError):
    """A service that strop calls did not answer, or not in its own protocol."""

    exit_code = 3


class TooLarge(OutsideServiceError):
    """A service can't answer for so much at once, or this machine can't hold it: ask for less."""


class ApprovalPending(StropError):
    """A run waits for a person's approval."""

    exit_code = 75
