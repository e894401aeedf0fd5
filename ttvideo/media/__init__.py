"""What is decoded, and with what: models, latents, clips, frames."""
