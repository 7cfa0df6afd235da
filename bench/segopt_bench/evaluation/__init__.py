"""Accuracy: mean IoU, average precision and panoptic quality of an engine on annotated pictures."""

from segopt_bench.evaluation.data_folder import Data, open_data
from segopt_bench.evaluation.evaluate import evaluate_engine, evaluate_predictions
from segopt_bench.evaluation.problems import EvaluationError, LeftOut
from segopt_bench.evaluation.scores import Evaluation, Scores

__all__ = [
    "Data",
    "Evaluation",
    "EvaluationError",
    "LeftOut",
    "Scores",
    "evaluate_engine",
    "evaluate_predictions",
    "open_data",
]
