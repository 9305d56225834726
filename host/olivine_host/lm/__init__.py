"""Language models for the accelerator: import, quantization, the quantized model's file, evaluation."""
