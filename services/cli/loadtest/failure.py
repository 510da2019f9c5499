"""The one error of a load test that is told to people instead of shown as a defect."""


class LoadTestError(RuntimeError):
    """The test cannot be run or judged; the text says why and what to do."""
