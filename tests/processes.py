"""Commands in processes of their own."""

import signal


def heed_signals() -> None:
    """For ``preexec_fn``: nohup and background shells let what they start ignore some signals."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
