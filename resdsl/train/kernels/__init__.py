"""Fused kernels for blocks of residual networks, written in Triton, which is imported where they are launched."""
