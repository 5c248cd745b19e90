"""Generate Swahili sentences from a small grammar of about 700 word forms, which are spelt as pronounced."""

import re

import numpy as np

GRAMMAR = {
    "sentence": [
        "{person} ali{do} {thing} {where}",
        "{person} ali{do} {thing} {ago}",
        "{ago} {person} ali{do} {thing}",
        "{people} wali{do} {thing} {where}",
        "{people} wali{do} {thing} {ago}",
        "{person} ali{do} {thing} kwa sababu {weather}",
        "{person} ali{go} {place} na {person}",
        "{person} ali{go} {place} {ago}",
        "{people} wali{go} {place} {ago}",
        "{weather} lakini {person} ali{go} {place}",
        "tuta{do} {thing} {soon}",
        "tuta{do} {thing} kama {condition}",
        "tafadhali {do} {thing} kabla ya {event}",
        "usi{omit} {thing} mpaka {until}",
        "kwa nini {person} ali{do} {thing}",
        "nani ali{do} {thing} {where}",
        "kulikuwa na {things} {where}",
        "kulikuwa na {things} na {things}",
        "{animal} {human} ali{move} {place}",
        "{animal} {people_number} wali{move} {place}",
        "{relative} anapenda {food} na {food}",
        "tulikula {food} {ago}",
        "inagharimu shilingi {amount} ku{do} {thing}",
        "{comparison}",
        "sijui kwa nini {person} ali{do} {thing}",
        "{person} alisema kwamba {weather}",
        "{person} alimwambia {person} kuhusu {thing}",
        "{person} alimpa {person} {thing}",
        "nadhani {person} ata{do} {thing} {soon}",
        "{person} anataka ku{do} {thing} {soon}",
        "mara tu {person} alipofika {place} {weather}",
    ],
    # People and animals: classes 1 and 2, whatever the noun looks like.
    "person": [
        *("{job}", "{job} {human}", "{job} wetu", "{relative}", "{relative}", "{name}", "{name}", "{name}"),
        *("{job} kutoka {town}", "kila mtu", "mtu mmoja", "{job}", "{name}"),
    ],
    "people": [
        *("{jobs}", "{jobs} {people_number}", "{jobs} {humans}", "{jobs} wetu", "{jobs} kutoka {town}"),
        *("{name} na {name}", "{relative} na {name}"),
    ],
    "job": [
        *("mwalimu", "mkulima", "mvuvi", "mpishi", "mwimbaji", "mwanafunzi", "mwandishi", "msichana", "mvulana"),
        *("mzee", "mgeni", "mlinzi", "mchungaji", "msafiri", "daktari", "dereva", "askari", "nahodha", "fundi"),
        *("seremala", "hakimu", "jirani"),
    ],
    "jobs": [
        *("walimu", "wakulima", "wavuvi", "wapishi", "wanafunzi", "watoto", "wasichana", "wavulana", "wazee"),
        *("wageni", "wafanyakazi", "wachezaji"),
    ],
    "human": [
        *("mzuri", "mrefu", "mfupi", "mdogo", "mkubwa", "mpole", "mkali", "mvivu", "mnene", "mwembamba"),
        *("mwerevu", "maarufu", "hodari"),
    ],
    "humans": ["wazuri", "warefu", "wadogo", "wapole", "wavivu", "wengine", "maarufu", "hodari"],
    "people_number": [
        *("wawili", "watatu", "wanne", "watano", "sita", "saba", "wanane", "tisa", "kumi", "wengi", "wachache"),
    ],
    "relative": ["{kin} {kin_whose}", "{kin} {kin_whose}", "{junior} {junior_whose}"],
    "kin": ["mama", "baba", "dada", "kaka", "shangazi", "bibi", "babu", "rafiki", "binamu"],
    "kin_whose": ["yangu", "yake", "yetu", "yao"],
    "junior": ["mjomba", "mtoto", "mjukuu", "mpwa"],
    "junior_whose": ["wangu", "wake", "wetu", "wao"],
    "name": [
        *("Juma", "Asha", "Amina", "Baraka", "Neema", "Hamisi", "Zuhura", "Rehema", "Salma", "Omari", "Fatuma"),
        *("Musa", "Tumaini", "Imani", "Kamau", "Otieno", "Saidi", "Halima", "Yusufu", "Daudi"),
    ],
    "town": ["Mombasa", "Nairobi", "Arusha", "Dodoma", "Mwanza", "Tanga", "Kisumu", "Lamu"],
    "animal": [
        *("mbwa", "paka", "ngamia", "mbuzi", "kondoo", "simba", "tembo", "twiga", "punda", "farasi", "ndege"),
        *("kuku", "sungura", "fisi", "chui", "panya"),
    ],
    # Things: singular and plural of classes 7/8, 9/10, 3/4 and 5/6.
    "thing": [
        *("{thing7}", "{thing9}", "{thing3}", "{thing5}", "{thing7}", "{thing9}", "{thing3}", "{thing5}"),
        *("{things}", "{things}", "{those}", "kila {noun}", "{noun} na {noun}"),
    ],
    "things": ["{things8}", "{things10}", "{things4}", "{things6}"],
    "those": ["{noun8} {that8}", "{noun9} {that10}", "{noun4} {that4}", "{noun6} {that6}"],
    "noun": ["{noun7}", "{noun9}", "{noun3}", "{noun5}"],
    "thing7": ["{noun7}", "{noun7}", "{noun7} {like7}", "{noun7} {like7}", "{noun7} {that7}", "{noun7} cha {owner}"],
    "things8": ["{noun8} {like8}", "{noun8} {count8}", "{noun8} {like8} {count8}"],
    "thing9": ["{noun9}", "{noun9}", "{noun9} {like9}", "{noun9} {like9}", "{noun9} {that9}", "{noun9} ya {owner}"],
    "things10": ["{noun9} {count10}", "{noun9} {like9} {count10}", "{noun9} za {owner}"],
    "thing3": ["{noun3}", "{noun3}", "{noun3} {like3}", "{noun3} {like3}", "{noun3} {that3}", "{noun3} wa {owner}"],
    "things4": ["{noun4} {like4}", "{noun4} {count4}", "{noun4} {like4} {count4}"],
    "thing5": ["{noun5}", "{noun5}", "{noun5} {like5}", "{noun5} {like5}", "{noun5} {that5}", "{noun5} la {owner}"],
    "things6": ["{noun6} {like6}", "{noun6} {count6}", "{noun6} {like6} {count6}"],
    "owner": ["{job}", "{name}", "zamani", "kisasa", "watoto"],
    "noun7": ["kitabu", "kiti", "kikombe", "kisu", "kikapu", "kitanda", "kioo", "kiatu", "kijiko", "kitambaa"],
    "noun8": ["vitabu", "viti", "vikombe", "visu", "vikapu", "vitanda", "vioo", "viatu", "vijiko", "vitambaa"],
    "noun9": [
        *("barua", "taa", "saa", "picha", "kofia", "nguo", "meza", "baiskeli", "simu", "ndoo", "sahani", "chupa"),
        *("kalamu", "ngoma", "bendera", "sufuria", "kamba", "ramani", "pete", "zawadi"),
    ],
    "noun3": ["mfuko", "mkeka", "mwavuli", "mpira", "mshumaa", "mkoba", "mzigo", "mtungi"],
    "noun4": ["mifuko", "mikeka", "miavuli", "mipira", "mishumaa", "mikoba", "mizigo", "mitungi"],
    "noun5": ["gari", "sanduku", "shoka", "jembe", "panga", "koti", "gunia", "gazeti", "blanketi", "begi"],
    "noun6": ["magari", "masanduku", "majembe", "mapanga", "makoti", "magunia", "magazeti", "mayai", "maua", "mawe"],
    "like7": [
        *("kikubwa", "kidogo", "kizuri", "kipya", "kizito", "kichafu", "cheupe", "cheusi", "chekundu", "safi", "ghali"),
    ],
    "like8": [
        *("vikubwa", "vidogo", "vizuri", "vipya", "vizito", "vichafu", "vyeupe", "vyeusi", "vyekundu", "safi", "ghali"),
    ],
    "like9": [
        *("kubwa", "ndogo", "nzuri", "mpya", "nzito", "chafu", "nyeupe", "nyeusi", "nyekundu", "safi", "ghali"),
    ],
    "like3": [
        *("mkubwa", "mdogo", "mzuri", "mpya", "mzito", "mchafu", "mweupe", "mweusi", "mwekundu", "safi", "ghali"),
    ],
    "like4": [
        *("mikubwa", "midogo", "mizuri", "mipya", "mizito", "michafu", "myeupe", "myeusi", "myekundu", "safi", "ghali"),
    ],
    "like5": [
        *("kubwa", "dogo", "zuri", "jipya", "zito", "chafu", "jeupe", "jeusi", "jekundu", "safi", "ghali"),
    ],
    "like6": [
        *("makubwa", "madogo", "mazuri", "mapya", "mazito", "machafu", "meupe", "meusi", "mekundu", "safi", "ghali"),
    ],
    "that7": ["hiki", "kile", "changu", "chake", "chetu"],
    "that8": ["hivi", "vile", "vyangu", "vyake", "vyetu", "vyote"],
    "that9": ["hii", "ile", "yangu", "yake", "yetu"],
    "that10": ["hizi", "zile", "zangu", "zake", "zetu", "zote"],
    "that3": ["huu", "ule", "wangu", "wake", "wetu"],
    "that4": ["hii", "ile", "yangu", "yake", "yetu", "yote"],
    "that5": ["hili", "lile", "langu", "lake", "letu"],
    "that6": ["haya", "yale", "yangu", "yake", "yetu", "yote"],
    "count8": ["viwili", "vitatu", "vinne", "vitano", "sita", "saba", "vinane", "tisa", "kumi", "vingi", "vichache"],
    "count10": ["mbili", "tatu", "nne", "tano", "sita", "saba", "nane", "tisa", "kumi", "nyingi", "chache"],
    "count4": ["miwili", "mitatu", "minne", "mitano", "sita", "saba", "minane", "tisa", "kumi", "mingi", "michache"],
    "count6": ["mawili", "matatu", "manne", "matano", "sita", "saba", "manane", "tisa", "kumi", "mengi", "machache"],
    "comparison": [
        "{noun7} hiki ni {like7} kuliko {noun7} cha {job}",
        "{noun9} hii ni {like9} kuliko {noun9} ya {job}",
        "{noun3} huu ni {like3} kuliko {noun3} wa {job}",
        "{noun5} hili ni {like5} kuliko {noun5} la {job}",
        "{job} ni {human} kuliko {relative}",
    ],
    "food": [
        *("wali", "ugali", "samaki", "maharage", "mkate", "ndizi", "nyama", "kuku", "asali", "mboga", "viazi"),
        *("maembe", "machungwa", "nyanya", "vitunguu", "pilau", "chapati", "uji", "mayai", "supu", "karanga"),
    ],
    # Verbs: stems that follow a prefix, and that alone are the imperative.
    "do": [
        *("nunua", "uza", "beba", "osha", "safisha", "tafuta", "sahau", "chukua", "tupa", "hesabu", "ficha"),
        *("chora", "azima", "rudisha", "pokea", "tazama", "tumia", "chagua", "pima"),
    ],
    "omit": [
        *("nunue", "uze", "bebe", "oshe", "sahau", "chukue", "tupe", "fiche", "rudishe", "tumie"),
    ],
    "go": [
        *("enda", "fika", "lala", "kaa", "simama", "cheza", "fanya kazi", "pumzika", "kimbia", "tembea", "subiri"),
        *("potea", "ishi", "soma", "rudi"),
    ],
    "move": ["kimbia", "lala", "ruka", "jificha", "kaa", "potea", "simama", "pita", "tembea", "kula majani"],
    "where": ["{place}", "{place}", "juu ya {surface}", "chini ya {shelter}"],
    "place": [
        *("{at}", "{at}", "{at}", "{at}", "{at}", "{at}", "{at}", "karibu na {building}", "karibu na {landscape}"),
        *("nyuma ya {building}", "mbele ya {building}", "kando ya {landscape}", "mbali na {landscape}"),
    ],
    "at": [
        *("sokoni", "shuleni", "nyumbani", "jikoni", "bustanini", "mtoni", "ziwani", "mlimani", "kijijini", "mjini"),
        *("pwani", "kanisani", "msikitini", "kiwandani", "hotelini", "msituni", "shambani", "ofisini", "dukani"),
        *("hospitalini", "maktabani", "bandarini", "kisiwani", "uwanjani", "barabarani", "chumbani"),
    ],
    "building": ["soko", "shule", "kanisa", "msikiti", "duka", "hospitali", "kiwanda", "hoteli", "nyumba"],
    "landscape": ["mto", "ziwa", "mlima", "bahari", "msitu", "barabara", "kisima", "shamba", "daraja"],
    "surface": ["meza", "kabati", "kitanda", "mkeka", "paa", "ukuta"],
    "shelter": ["meza", "mti", "kitanda", "daraja", "mwembe"],
    "ago": [
        *("jana", "juzi", "jana asubuhi", "jana jioni", "jana usiku", "leo asubuhi", "wiki iliyopita", "mwaka jana"),
        *("mwezi uliopita", "{day} iliyopita", "mwezi wa {month}", "siku {count10} zilizopita", "saa {hour}"),
        *("asubuhi na mapema", "wakati wa {season}", "baada ya chakula", "usiku wa manane"),
    ],
    "soon": [
        *("kesho", "kesho asubuhi", "kesho jioni", "kesho kutwa", "wiki ijayo", "mwezi ujao", "mwaka ujao"),
        *("{day} ijayo", "mwezi wa {month}", "baada ya siku {count10}", "saa {hour}", "wakati wa {season}"),
    ],
    "day": ["Jumatatu", "Jumanne", "Jumatano", "Alhamisi", "Ijumaa", "Jumamosi", "Jumapili"],
    "month": ["Januari", "Februari", "Machi", "Aprili", "Juni", "Julai", "Agosti", "Oktoba", "Novemba", "Desemba"],
    "hour": [
        *("moja asubuhi", "mbili usiku", "nne asubuhi", "sita mchana", "nane mchana", "kumi jioni", "tatu na nusu"),
    ],
    "season": ["mvua", "mavuno", "harusi", "likizo", "mkutano", "sherehe", "kiangazi"],
    "weather": [
        *("mvua ilinyesha", "jua lilikuwa kali", "upepo ulivuma", "kulikuwa na baridi", "kulikuwa na joto"),
        *("kulikuwa na mawingu", "mto ulifurika", "giza liliingia", "barabara ilikuwa na matope"),
        *("mvua ilikuwa inanyesha", "ukungu ulikuwa mzito"),
    ],
    "condition": [
        *("mvua haitanyesha", "kuna nafasi", "duka litafunguliwa", "{person} atarudi", "kazi itaisha mapema"),
        *("kuna pesa za kutosha", "barabara ni nzuri"),
    ],
    "event": ["kulala", "chakula", "safari", "mkutano", "kuondoka", "jua kuzama", "mvua kunyesha", "wageni kufika"],
    "until": ["mvua iishe", "{person} afike", "{person} arudi", "kazi iishe", "jua lizame", "nikuambie"],
    "amount": [
        *("mia mbili", "mia tano", "elfu moja", "elfu mbili", "elfu tano", "elfu kumi", "elfu ishirini"),
        *("elfu thelathini", "elfu hamsini"),
    ],
}
"""Expansions of each symbol; `{symbol}` stands for any expansion of that symbol."""


def sentences(count: int, *, seed: int, avoid: frozenset[str] = frozenset()) -> list[str]:
    """Generate different sentences, without punctuation.

    Args:
        count: number of sentences.
        seed: decides the sentences.
        avoid: sentences to exclude, such as those of another split.
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
