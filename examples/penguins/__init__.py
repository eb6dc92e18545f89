"""Three tasks on the Palmer penguins: clean the field notes, summarise them, tell species apart by their measures."""
