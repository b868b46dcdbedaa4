"""MLflow 3: traces and assessments."""
