"""Text for calibration, for evaluation and for the default run: ordinary sentences, kept apart, and verses.

The sentences below were written for this project. Where Debian's ``bible-kjv`` is installed, its verses
make the calibration larger.
"""

import shutil
import subprocess

__all__ = ["DEFAULT", "EVALUATION", "CALIBRATION", "CALIBRATION_PASSAGE", "EVALUATION_PASSAGE", "verses",
           "calibration_text"]

DEFAULT = (
    "The weather was lovely this morning, so we walked along the river to the bridge.",
    "Memory bandwidth, not arithmetic, limits how fast a language model produces its next word.",
    "She put the kettle on, opened the window and listened to the rain.",
    "How do I cancel my order?",
)
"""Input of ``olivine run``: 64 tokens, which fill the rows of preset ``edge`` once."""

EVALUATION = (
    *DEFAULT,
    "A small team of engineers rebuilt the pump station after the flood.",
    "The museum opens at nine and closes at half past five, except on Mondays.",
    "He lost his keys again and had to climb in through the kitchen window.",
    "Interest rates rose for the third time this year.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "What time does the last train to the coast leave on Sundays?",
    "The defender headed the ball clear, but the referee had already blown his whistle.",
    "Add two spoonfuls of flour, stir until smooth, and let the sauce simmer for ten minutes.",
    "Our daughter starts school in September and is already choosing a bag.",
    "The compiler reports an error because the variable is used before it is assigned.",
    "Dozens of villages were without electricity after the storm.",
    "I would like to return these shoes; they are a size too small.",
    "The committee postponed its decision until the auditors have finished their report.",
    "Whales sing songs that travel for hundreds of miles under water.",
    "My neighbour's dog barks at every bicycle that passes the house.",
    "In 1969 two men walked on the moon while a third circled above them.",
    "The patient was given antibiotics and sent home the next day.",
    "Nothing in the contract says who pays for repairs to the roof.",
    "Turn left at the church and you will see the bakery on the corner.",
    "The novel follows three generations of a fishing family in the north.",
)
"""Sentences on which quantized models are judged; never used to calibrate."""

CALIBRATION = (
    "The ferry crosses the strait twice a day in summer and once in winter.",
    "Please send me the invoice before the end of the month.",
    "A recursive function needs a case in which it does not call itself.",
    "The orchestra played the second movement a little too fast.",
    "Scientists have found traces of water beneath the surface of the planet.",
    "Is there a vegetarian dish on the menu?",
    "The garden is full of tomatoes, beans and sunflowers this year.",
    "He repaired the bicycle with a piece of wire and some patience.",
    "Share prices fell sharply after the company announced its losses.",
    "The children built a hut out of branches at the edge of the forest.",
    "An operating system shares the processor among many programs.",
    "Her grandmother taught her how to knit when she was seven.",
    "The bridge will be closed to lorries until the inspection is complete.",
    "Where can I find the instructions for this washing machine?",
    "Bees visit thousands of flowers to make a single spoonful of honey.",
    "The court ruled that the search of the car had been lawful.",
    "We missed the bus and walked home under a sky full of stars.",
    "The vaccine protects most people for at least ten years.",
    "Fold the paper in half, then open it and fold the corners to the middle.",
    "The striker scored twice in the final minutes of the match.",
    "A cache keeps copies of data that were used a short while ago.",
    "The old clock in the hall has been slow since my uncle repaired it.",
    "Farmers in the valley hope for rain before the harvest.",
    "The minister answered none of the questions that the journalists asked.",
    "I cannot log in to my account because I have forgotten the password.",
    "The glacier has lost a third of its length in fifty years.",
    "They painted the front door green and the shutters white.",
    "Gold is heavier than lead and does not rust.",
    "The flight to Lisbon is delayed by forty minutes because of fog.",
    "He speaks four languages but can order coffee in nine.",
    "The library lends books, films, tools and even musical instruments.",
    "Sort the list first; then a binary search finds the entry quickly.",
    "The soup was too salty, the bread was stale and the waiter was rude.",
    "After the war the family moved to a small town near the border.",
    "Children under twelve travel free when accompanied by an adult.",
    "The telescope collects light from galaxies billions of years away.",
    "My phone's battery lasts barely half a day since the last update.",
    "The actress thanked her parents, her teachers and the whole crew.",
    "Snow had covered the road, and only the fence posts showed the way.",
    "A good carpenter measures twice and cuts once.",
)
"""Ordinary sentences for calibration; none of them is an evaluation sentence."""

CALIBRATION_PASSAGE = "Genesis 1:1-8:22"
EVALUATION_PASSAGE = "Ruth 1:1-1:22"


def verses(passage):
    """Verses of a passage from Debian's ``bible``; an empty list where it is not installed."""
    program = shutil.which("bible") or shutil.which("bible", path="/usr/bin:/usr/games")
    if program is None:
        return []
    output = subprocess.run([program, "-f", passage], capture_output=True, text=True).stdout
    # Every line starts with its place: "Ge1:1 In the beginning ...".
    return [line.split(maxsplit=1)[1] for line in output.splitlines() if " " in line.strip()]


def calibration_text():
    """Sentences to calibrate on: the ordinary ones and, where there are any, verses of Genesis."""
    return [*CALIBRATION, *verses(CALIBRATION_PASSAGE)]
