"""The errors of the trainer.

    TrainerError
      HistoryError: the history and Kafka contradict each other, or the history cannot be written; the command stops
      IngestError: Kafka has nothing to read; the command stops, nothing was written
      ImportDataError: a file cannot be understood with certainty; nothing of it was imported
      QuestionError: the history cannot answer the question; the text lists its tables or columns
      TooLittleDataError: a site cannot have this model yet; the others go on, the reason is in the result
      ExportError: a model cannot be exported, or its file gives other values; it is not kept, others go on
      PublishError: the repository or a candidate is not fit to be signed; nothing was published

A configuration that cannot be used is `ringmain_program.config.ConfigError`.
"""


class TrainerError(Exception):
    """Root of the trainer's errors: `__main__` prints the text and stops with exit status 1."""


class HistoryError(TrainerError):
    """History and Kafka contradict each other; a person must decide."""


class IngestError(TrainerError):
    """Kafka has none of the topics; nothing was written."""


class ImportDataError(TrainerError):
    """Nothing of the file was imported; the text names line and column, or the keys that a mapping must have."""


class QuestionError(TrainerError):
    """The question is not understood, or its answer cannot be written."""


class TooLittleDataError(TrainerError):
    """There is too little history, or nothing in it to learn from."""


class ExportError(TrainerError):
    """An estimator gave no file, or a wrong one; nothing is kept of it."""


class PublishError(TrainerError):
    """Nothing was published; the text names the missing or wrong part."""
