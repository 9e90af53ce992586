"""Other names of scene classes: data sets call the same scene differently, and a right answer may use either name.

In the table stand only names that differ by spelling, by the English of another country, or between AID, NWPU-RESISC45,
UCMerced, EuroSAT and WHU-RS19 for the same kind of scene. What is merely near ("overpass" and AID's "viaduct",
"playground" and "ground track field", "grassland" and "meadow", "airfield" and "airport") is not in it.
"""

from __future__ import annotations

from collections import defaultdict

from skyeye.eval.metrics.words import compact

#: Each line is one kind of scene.
SAME = (
    ("airplane", "aeroplane", "plane", "aircraft"),
    ("baseball field", "baseball diamond"),
    ("bare land", "barren land"),
    ("center", "centre"),
    ("commercial", "commercial area"),
    ("dense residential", "dense residential area", "high density residential"),
    ("farmland", "agricultural", "agricultural land", "agriculture", "cropland"),
    ("football field", "soccer field", "football pitch", "soccer pitch"),
    ("freeway", "highway", "motorway", "expressway"),
    ("ground track field", "track field", "track and field", "running track"),
    ("harbor", "harbour", "port", "seaport"),
    ("industrial", "industrial area"),
    ("intersection", "crossroad", "crossroads"),
    ("medium residential", "medium residential area", "medium density residential"),
    ("mobile home park", "trailer park"),
    ("parking", "parking lot", "parking area", "car park"),
    ("railway", "railroad"),
    ("railway station", "railroad station", "train station"),
    ("residential", "residential area"),
    ("roundabout", "traffic circle"),
    ("snowberg", "snow mountain", "snowy mountain", "snow capped mountain"),
    ("sparse residential", "sparse residential area", "low density residential"),
    ("square", "plaza"),
    ("storage tank", "tank"),
    ("terrace", "terraced field", "terraced farmland"),
    ("thermal power station", "thermal power plant", "power station", "power plant"),
)
#: Classes that unite two kinds of scene, each of which names them (EuroSAT: "SeaLake"); not the other way round.
UNITED = {"sealake": ("sea", "lake")}


def other_names(classes: tuple[str, ...]) -> dict[str, str]:
    """Compact name -> class, for the names that are no class themselves and mean only one of the classes.

    Every name counts in the singular and in the plural.
    """
    own = {compact(name): name for name in classes}
    meant: dict[str, set[str]] = defaultdict(set)
    for kind, name in own.items():
        for other in _names(name):
            meant[other].add(kind)
    return {other: own[min(kinds)] for other, kinds in meant.items() if len(kinds) == 1 and other not in own}


def _names(name: str) -> set[str]:
    forms = numbers(compact(name))
    names = [name, *UNITED.get(compact(name), ())]
    for line in SAME:
        if any(forms & numbers(compact(other)) for other in line):
            names += line
    return {form for other in names for form in numbers(compact(other))}


def numbers(word: str) -> set[str]:
    """A compact name in the singular and in the plural, whichever it is."""
    forms = {word}
    if word.endswith("ies"):
        forms.add(word[:-3] + "y")
    elif word.endswith(("ches", "shes", "sses", "xes")):
        forms.add(word[:-2])
    elif word.endswith("s") and not word.endswith("ss"):
        forms.add(word[:-1])
    elif word.endswith("y") and word[-2:-1] not in set("aeiou"):
        forms.add(word[:-1] + "ies")
    else:
        forms.add(word + ("es" if word.endswith(("ch", "sh", "ss", "x")) else "s"))
    return forms
