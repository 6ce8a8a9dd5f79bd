"""Flexible deep networks trained with in-place knowledge distillation and teacher assistants."""
