"""The 80 object categories of COCO, and the words that name them in running text."""

import re
from functools import cache

SYNONYMS: dict[str, str] = {
    "person": "people man men woman women boy girl child children kid baby toddler infant adult "
    "lady ladies guy gentleman gentlemen player skier snowboarder surfer skateboarder skater rider "
    "cyclist biker pedestrian passenger chef baker cook worker employee customer officer policeman "
    "policemen policewoman soldier fireman firemen batter catcher pitcher umpire crowd "
    "father mother son daughter bride groom couple_of_people tourist spectator commuter",
    "bicycle": "bike",
    "car": "automobile sedan suv minivan taxi hatchback convertible",
    "motorcycle": "motorbike moped scooter",
    "airplane": "aeroplane plane jet jetliner aircraft airliner",
    "bus": "minibus schoolbus",
    "train": "locomotive train_car",
    "truck": "lorry pickup",
    "boat": "ship ferry sailboat canoe kayak yacht rowboat speedboat raft",
    "traffic light": "stoplight stop_light traffic_signal",
    "fire hydrant": "hydrant",
    "stop sign": "",
    "parking meter": "",
    "bench": "park_bench",
    "bird": "pigeon seagull gull duck goose geese parrot owl penguin swan peacock turkey chicken "
    "rooster sparrow hawk eagle ostrich",
    "cat": "kitten kitty",
    "dog": "puppy puppies pup doggy",
    "horse": "pony ponies foal stallion mare colt",
    "sheep": "lamb ewe",
    "cow": "cattle calf calves bull ox oxen",
    "elephant": "",
    "bear": "polar_bear grizzly",
    "zebra": "",
    "giraffe": "",
    "backpack": "back_pack knapsack rucksack",
    "umbrella": "parasol",
    "handbag": "purse hand_bag",
    "tie": "necktie",
    "suitcase": "luggage briefcase",
    "frisbee": "",
    "skis": "ski",
    "snowboard": "",
    "sports ball": "baseball_ball soccer_ball tennis_ball basketball volleyball",
    "kite": "",
    "baseball bat": "",
    "baseball glove": "baseball_mitt catcher's_mitt",
    "skateboard": "",
    "surfboard": "surf_board",
    "tennis racket": "racket racquet tennis_racquet",
    "bottle": "",
    "wine glass": "wineglass",
    "cup": "mug teacup",
    "fork": "",
    "knife": "knives",
    "spoon": "",
    "bowl": "",
    "banana": "",
    "apple": "",
    "sandwich": "hamburger burger cheeseburger",
    "orange": "",
    "broccoli": "",
    "carrot": "",
    "hot dog": "hotdog",
    "pizza": "",
    "donut": "doughnut",
    "cake": "cupcake cheesecake",
    "chair": "armchair stool",
    "couch": "sofa loveseat",
    "potted plant": "houseplant potted_flower",
    "bed": "",
    "dining table": "dinner_table kitchen_table",
    "toilet": "urinal",
    "tv": "television tv_set",
    "laptop": "laptop_computer",
    "mouse": "computer_mouse",
    "remote": "remote_control",
    "keyboard": "computer_keyboard",
    "cell phone": "cellphone mobile_phone smartphone smart_phone",
    "microwave": "microwave_oven",
    "oven": "stove",
    "toaster": "",
    "sink": "washbasin",
    "refrigerator": "fridge",
    "book": "",
    "clock": "",
    "vase": "",
    "scissors": "",
    "teddy bear": "stuffed_bear",
    "hair drier": "hair_dryer hairdryer blow_dryer",
    "toothbrush": "",
}
"""Category -> other words for it (an underscore is a space); plurals are formed by rule."""

NO_OBJECT = (
    "train_track train_station train_tunnel bus_stop bus_station boat_dock car_park toilet_paper "
    "toilet_seat cake_pan pizza_box dog_house dog_bed cat_food bottle_cap clock_tower bird_house "
    "bird_bath bird_cage bike_rack bike_lane bike_shop bike_path bicycle_store bicycle_shop "
    "bicycle_lane bicycle_rack book_store car_seat cup_holder knife_block truck_stop chair_lift "
    "ski_lift ski_lodge ski_slope ski_resort ski_pole mouse_pad bow_tie apple_tree orange_tree "
    "banana_tree orange_juice apple_juice tie_dye hot_plate duck_tape"
)
"""Phrases that hold an object's word and name no such object."""

_NEGATION = re.compile(
    r"\b(?:no|without|without an?|without any|not an?|not any|isn't an?|aren't any)$"
)


def named(text: str) -> set[str]:
    """The COCO categories that a text says are there.

    The longest phrase wins (a hot dog is no dog); `no`, `without` and `not a` before it negate
    it; a colour word is no fruit: only `oranges` and `an orange` before a stop or a joining word.
    """
    lowered = " ".join(text.lower().replace("’", "'").split())
    found: set[str] = set()
    for match in _pattern().finditer(lowered):
        category = _phrases()[match[0]]
        if category and not _NEGATION.search(lowered[: match.start()].rstrip()):
            found.add(category)
    return found


@cache
def _phrases() -> dict[str, str | None]:
    phrases: dict[str, str | None] = {}
    for phrase in NO_OBJECT.split():
        phrases.update(dict.fromkeys(_numbers(phrase.replace("_", " ")), None))
    for category, words in SYNONYMS.items():
        for phrase in (category, *(word.replace("_", " ") for word in words.split())):
            phrases.update(dict.fromkeys(_numbers(phrase), category))
    return phrases


@cache
def _pattern() -> re.Pattern[str]:
    ordered = sorted(set(_phrases()) - {"orange"}, key=len, reverse=True)
    fruit = r"(?<=\ban )orange(?=[.,;!?]|$| (?:and|or|on|in|is|with|next|beside|near)\b)"
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, ordered))})\b(?!')|{fruit}")


def _numbers(phrase: str) -> tuple[str, str]:
    """A phrase in singular and plural."""
    if phrase.endswith(("s", "x", "ch", "sh")):
        return phrase, f"{phrase}es"
    if phrase.endswith("y") and phrase[-2] not in "aeiou":
        return phrase, f"{phrase[:-1]}ies"
    if phrase.endswith("man"):
        return phrase, f"{phrase[:-3]}men"
    return phrase, f"{phrase}s"
