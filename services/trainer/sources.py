"""One door to all that can be learnt from: data sets, and the service's own log as `homepage data export` wrote it."""

from pathlib import Path

from services.trainer.assembly import CorpusOptions
from services.trainer.corpora import open_corpus
from services.trainer.corpus import Corpus
from services.trainer.event_log import corpus_of_log
from services.trainer.exported_log import is_exported, read_exported


def open_source(path: Path | None, options: CorpusOptions) -> Corpus:
    """The folder at `path`, an exported log or any format of `shared.datasets`; None = the generated world.

    Raises:
        DatasetError: as services.trainer.corpora.open_corpus.
    """
    if path is not None and is_exported(path):
        return corpus_of_log(read_exported(path), options)
    return open_corpus(path, options)
