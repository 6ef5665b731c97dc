"""What a model can do (its role), and how one is loaded by name."""

ROLES = {
    "vision-language": "harness.models.vision_language:VisionLanguage",
    "translator": "harness.models.translator:Translator",
}
"""Role -> the class that plays it. Later roles: causal-lm, dual-encoder."""
