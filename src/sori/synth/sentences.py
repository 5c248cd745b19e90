"""Invented English sentences: a small grammar over some five hundred everyday words."""

import re

import numpy as np

GRAMMAR = {
    "sentence": [
        "{person} {did} {thing} {where}",
        "{person} {did} {thing} {when}",
        "{when} {person} {did} {thing}",
        "{person} {did} {thing} because {weather}",
        "{person} {went} {where} with {person}",
        "{person} {went} {where} {when}",
        "{weather} but {person} {went} {where}",
        "{will} {do} {thing} {when}",
        "{will} {do} {thing} {where} if {condition}",
        "please {do} {thing} before {condition}",
        "do not {do} {thing} until {condition}",
        "where did {person} {do} {thing}",
        "why did {person} {do} {thing} {when}",
        "there were {number} {things} {where}",
        "{number} {things} and {number} {things} were {where}",
        "the {adjective} {animal} {moved} {where}",
        "{number} {animals} {moved} {where} {when}",
        "my {relative} likes {food} with {food}",
        "we had {food} and {food} {when}",
        "it costs {number} dollars to {do} {thing}",
        "the {adjective} {object} is {older} than the {adjective} {object}",
        "nobody knows why {person} {did} {thing}",
        "{person} said that {weather} {where}",
        "{person} told {person} about {thing}",
        "I think {person} will {do} {thing} {when}",
        "as soon as {person} {went} {where} {weather}",
    ],
    "person": [
        *("the {job}", "the {adjective} {job}", "my {relative}", "his {relative}", "her {relative}", "{name}"),
        *("{name}", "our {relative}", "the {job} from the {place}", "everybody", "somebody", "their {adjective} {job}"),
    ],
    "thing": [
        *("the {object}", "the {adjective} {object}", "a {common} {object}", "{number} {things}", "some {things}"),
        *("the {object} and the {object}", "every {object}", "that {adjective} {object}", "her {object}"),
        *("the {color} {object}", "a few {color} {things}", "this {object}", "all the {things}", "our {object}"),
    ],
    "where": [
        *("in the {place}", "near the {place}", "behind the {place}", "across the {place}", "on the {surface}"),
        *("under the {surface}", "between the {place} and the {place}", "beside the {color} {place}"),
        *("not far from the {place}", "above the {surface}", "at the end of the {way}", "along the {way}"),
    ],
    "when": [
        *("this morning", "last night", "yesterday", "tomorrow", "on {day}", "in {month}", "after breakfast"),
        *("before lunch", "every {day}", "in the evening", "around midnight", "{number} days ago", "next week"),
        *("during the {season}", "at {hour}", "since {month}", "in {number} years", "for {number} hours"),
    ],
    "condition": [
        *("{weather}", "the {job} comes home", "you find the {object}", "the {place} is open", "there is time"),
        *("{name} calls back", "we leave the {place}", "the {object} is ready", "everyone agrees"),
    ],
    "weather": [
        *("it was raining", "the wind was cold", "the sun was shining", "snow covered the {place}", "it was too hot"),
        *("the fog was thick", "the night was clear", "thunder rolled over the {place}", "the sky turned {color}"),
    ],
    "will": ["we will", "they will", "she will", "you should", "he might", "I would", "we could", "they must"],
    "did": [
        *("found", "lost", "sold", "bought", "painted", "carried", "washed", "repaired", "forgot", "watched", "broke"),
        *("dropped", "measured", "opened", "closed", "cleaned", "borrowed", "threw", "pushed", "counted", "drew"),
        *("gave away", "picked up", "looked at", "talked about", "wrote about", "looked for", "took"),
    ],
    "do": [
        *("find", "sell", "buy", "paint", "carry", "wash", "repair", "forget", "watch", "break", "drop", "measure"),
        *("open", "close", "clean", "borrow", "throw", "push", "count", "draw", "bring", "keep", "choose", "check"),
        *("give away", "pick up", "look at", "talk about", "write about", "look for", "take", "use"),
    ],
    "went": [
        *("walked", "drove", "travelled", "stood", "waited", "slept", "worked", "played", "sat", "arrived", "rested"),
        *("danced", "lived", "stayed", "studied", "ran", "went for a walk", "got lost", "fell asleep"),
    ],
    "moved": ["jumped", "climbed", "flew", "was hiding", "swam", "lay", "ran", "barked", "slept", "was sitting"],
    "job": [
        *("teacher", "doctor", "farmer", "captain", "baker", "singer", "driver", "nurse", "lawyer", "painter", "guide"),
        *("student", "engineer", "writer", "neighbour", "soldier", "judge", "pilot", "cook", "child", "stranger"),
        *("manager", "fisherman", "gardener", "tailor", "king", "queen", "policeman", "scientist", "girl", "boy"),
    ],
    "relative": ["mother", "father", "sister", "brother", "uncle", "aunt", "cousin", "grandmother", "son", "daughter"],
    "name": [
        *(
            "Anna",
            "Peter",
            "Maria",
            "Thomas",
            "Julia",
            "David",
            "Sophie",
            "Martin",
            "Laura",
            "George",
            "Helen",
            "Frank",
        ),
        *("Emma", "Robert", "Alice", "Oscar", "Nina", "Victor", "Grace", "Henry", "Rose", "Daniel", "Eva", "Paul"),
    ],
    "object": [
        *("book", "letter", "box", "bicycle", "lamp", "clock", "hammer", "ladder", "bottle", "picture", "window"),
        *(
            "engine",
            "radio",
            "ticket",
            "basket",
            "blanket",
            "guitar",
            "knife",
            "mirror",
            "camera",
            "umbrella",
            "jacket",
        ),
        *(
            "suitcase",
            "candle",
            "key",
            "rope",
            "boat",
            "truck",
            "wheel",
            "newspaper",
            "pencil",
            "shirt",
            "piano",
            "map",
        ),
        *("door", "chair", "bag", "coin", "cup", "shoe", "machine", "toy", "flag", "bell"),
    ],
    "things": [
        *(
            "books",
            "letters",
            "boxes",
            "lamps",
            "bottles",
            "pictures",
            "tickets",
            "baskets",
            "blankets",
            "keys",
            "maps",
        ),
        *("candles", "boats", "wheels", "stones", "flowers", "shirts", "shoes", "coins", "cups", "chairs", "stamps"),
        *("questions", "stories", "songs", "plates", "pencils", "toys", "flags", "bells", "papers", "buttons"),
    ],
    "animal": ["dog", "cat", "horse", "bird", "fox", "rabbit", "duck", "sheep", "mouse", "bear", "frog", "lion", "cow"],
    "animals": ["dogs", "cats", "horses", "birds", "foxes", "rabbits", "ducks", "sheep", "mice", "bears", "geese"],
    "food": [
        *("bread", "cheese", "rice", "soup", "apples", "fish", "honey", "potatoes", "butter", "chicken", "pepper"),
        *("lemon", "sugar", "milk", "coffee", "tea", "beans", "oranges", "salt", "cake", "tomatoes", "onions"),
    ],
    "place": [
        *(
            "river",
            "market",
            "school",
            "kitchen",
            "garden",
            "station",
            "bridge",
            "village",
            "forest",
            "harbour",
            "church",
        ),
        *("factory", "library", "mountain", "hotel", "lake", "field", "castle", "museum", "hospital", "beach", "tower"),
        *("office", "island", "valley", "bakery", "airport", "theatre", "house", "park", "farm", "shop"),
    ],
    "surface": ["table", "roof", "floor", "shelf", "wall", "desk", "bed", "stairs", "bench", "carpet", "hill"],
    "way": ["road", "street", "path", "railway", "coast", "corridor", "canal", "border", "fence", "hall"],
    "adjective": [
        *("old", "young", "quiet", "heavy", "broken", "beautiful", "strange", "clever", "hungry", "small", "famous"),
        *("tired", "friendly", "dirty", "expensive", "lucky", "empty", "tall", "gentle", "nervous", "wooden", "brave"),
        *("rich", "poor", "lonely", "cheerful", "curious", "careful", "ancient", "proud", "huge"),
    ],
    "common": ["new", "large", "cheap", "simple", "round", "soft", "dark", "bright", "thin", "long", "short", "dry"],
    "older": [
        "older",
        "heavier",
        "cheaper",
        "larger",
        "smaller",
        "better",
        "brighter",
        "stronger",
        "lighter",
        "longer",
    ],
    "color": [
        "red",
        "blue",
        "green",
        "yellow",
        "black",
        "white",
        "brown",
        "purple",
        "grey",
        "pink",
        "silver",
        "golden",
    ],
    "number": [
        *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen"),
        *("twenty", "thirty", "forty", "fifty", "a hundred", "several", "many"),
    ],
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "month": ["January", "February", "March", "April", "June", "July", "August", "October", "November", "December"],
    "season": ["summer", "winter", "spring", "autumn", "holidays", "concert", "meeting", "storm"],
    "hour": ["one o'clock", "half past two", "noon", "seven in the morning", "quarter to nine", "sunrise", "sunset"],
}
"""Symbol to its rewritings; `{symbol}` stands for any rewriting of that symbol."""


def sentences(count: int, *, seed: int, avoid: frozenset[str] = frozenset()) -> list[str]:
    """Different sentences, without punctuation except the apostrophe.

    Args:
        count: how many.
        seed: decides which.
        avoid: sentences that must not come up, for instance those of another split.
    """
    draw = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        expanded = _expand("{sentence}", draw)
        sentence = expanded[0].upper() + expanded[1:]
        if sentence not in avoid:
            found.setdefault(sentence)
    return list(found)


def _expand(text: str, draw: np.random.Generator) -> str:
    while "{" in text:
        text = re.sub(r"\{(\w+)\}", lambda match: str(draw.choice(GRAMMAR[match[1]])), text)
    return text
