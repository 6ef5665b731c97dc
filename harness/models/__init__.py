"""What a model can do (its role), and how one is loaded by name."""

ROLES = {
    "causal-lm": "harness.models.causal_lm:CausalLM",
    "vision-language": "harness.models.vision_language:VisionLanguage",
    "translator": "harness.models.translator:Translator",
    "dual-encoder": "harness.models.dual_encoder:DualEncoder",
}
"""Role -> the class that plays it."""
