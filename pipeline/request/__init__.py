"""What commands are asked for: frozen models, validated once, of which the options are made.

The text of a field is its option's help. Nothing here needs torch, so that help comes at once.
"""

from pipeline.request.experiments import (
    CompareRequest,
    ControlRequest,
    CorrespondenceRequest,
    InvarianceRequest,
)
from pipeline.request.fields import (
    WORKERS,
    DataFormat,
    Frozen,
    OnCluster,
    Precision,
    Workforce,
)
from pipeline.request.pictures import (
    ExplainRequest,
    OccludeRequest,
    Panel,
    PosterRequest,
)
from pipeline.request.runs import (
    AskRequest,
    DoctorRequest,
    MineRequest,
    Mining,
    ProjectRequest,
    PublishRequest,
    ShowRequest,
)

__all__ = [
    "WORKERS",
    "AskRequest",
    "CompareRequest",
    "ControlRequest",
    "CorrespondenceRequest",
    "DataFormat",
    "DoctorRequest",
    "ExplainRequest",
    "Frozen",
    "InvarianceRequest",
    "MineRequest",
    "Mining",
    "OccludeRequest",
    "OnCluster",
    "Panel",
    "PosterRequest",
    "Precision",
    "ProjectRequest",
    "PublishRequest",
    "ShowRequest",
    "Workforce",
]
