"""Problems: what went wrong in drawing, said once each; the training goes on."""

from __future__ import annotations

import logging
import warnings

LOG = logging.getLogger("phosphene.training")


class Problems:
    """Sentences, each of which was a warning; of one source the first alone."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._sources: list[object] = []

    def report(self, source: object, said: str) -> None:
        if any(known is source for known in self._sources):
            return
        self._sources.append(source)
        self.said.append(said)
        try:
            warnings.warn(said, RuntimeWarning, stacklevel=3)
        except RuntimeWarning:  # where warnings are errors: the training goes on all the same
            LOG.warning(said)
