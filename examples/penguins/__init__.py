"""Three tasks on the Palmer penguins: clean the field notes, summarise them, classify the species."""
