"""Task engines: one package each, which knows neither the other nor the attempt core."""
