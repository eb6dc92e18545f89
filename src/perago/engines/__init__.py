"""Task engines, one package each. An engine knows neither the other engines nor the attempt core."""
