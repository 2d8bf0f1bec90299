"""Finds the figures of a text, in the forms of English, Portuguese and French."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_MONTH = (
    r"(?:jan(?:uary|eiro|vier|v)?|feb(?:ruary)?|fev(?:ereiro)?|f[ée]v(?:r|rier)?|mar(?:ch|ço|s)?"
    r"|apr(?:il)?|abr(?:il)?|avr(?:il)?|may|maio?|jun[eh]?o?|juin|jul[yh]?o?|juil(?:let)?"
    r"|aug(?:ust)?|ago(?:sto)?|ao[ûu]t|sept?(?:ember|embre)?|set(?:embro)?|oct(?:ober|obre)?"
    r"|out(?:ubro)?(?! of)|nov(?:ember|embro|embre)?|dec(?:ember)?|dez(?:embro)?|d[ée]c(?:embre)?)"
    r"\b\.?"
)
_ORDINAL = r"(?:st|nd|rd|th|[ºª°]|er|[eè]me|[eèoa]|ère|re|nde?|os|as)"
_DAY = rf"\d{{1,2}}{_ORDINAL}?"
_DAYS = rf"{_DAY}(?:\s*(?:[-–—/&,]|to|and|a|e|et|au|ao|or|ou|until)\s*(?:le |the )?{_DAY}){{,9}}"
_CURRENCY = r"(?:R\$|US\$|[$€£]|\b(?:BRL|EUR|USD|GBP|CHF)\b)"
_NO_FIGURES = re.compile(
    "|".join(
        (
            # Code, quotes, addresses, results, numbers of a list.
            r"```.*?(?:```|\Z)|`[^`\n]*`|\"[^\"\n]*\"|“[^“”\n]*”|«[^«»\n]*»",
            r"\]\([^()\s]*\)|https?://\S+|\[(?:table|chart): ?r\d+\]|^[ \t>]*\d+[.)](?=\s)",
            # Days, months, years, times.
            r"\d{4}-\d\d(?:-\d\d)?(?:[T ]\d\d:\d\d(?::\d\d)?)?",
            r"\d{1,2}([.-])\d{1,2}\1\d{2,4}|(?<!\d)\d+(?:/\d+)+",
            rf"\b{_DAYS}\s+(?:de |of )?{_MONTH}(?:(?:,| de|/)?\s*(?:19|20)\d\d\b)?",
            rf"\b{_MONTH}(?:\s+{_DAYS}(?![.,]?\d))?(?:(?:,| de|/)?\s*(?:19|20)\d\d\b|/\d\d\b)?",
            r"(?<![$€£][ \u00a0])(?<![\w.,$€£])(?:19|20)\d\d(?![\w%]|[.,]\d|[ \u00a0\u202f]?[%€])",
            r"\b\d{1,2}(?::\d\d){1,2}(?:\s?[ap]\.?m\b\.?)?|\b\d{1,2}\s?[ap]\.?m\b\.?",
            r"(?<![\d.,])\d{1,3}\s?h(?:\s?\d{1,2}(?!\d))?(?:\s?min)?\b",
            r"(?<![\d.,])\d{1,3}[\s*_-]*(?:s|min|h|[jd]|(?:second|minute|hour|day|week|month|year"
            r"|segundo|minuto|hora|dia|semana|ano|seconde|heure|jour|semaine|an|année)s?|m[êe]s(?:es)?"
            r"|mois)\b",
            # Versions, phone numbers, identifiers, ordinals, rates.
            r"\bv\d+(?:\.\d+)*|\b(?<!\d\.)(?!\d{1,3}(?:\.\d{3})+(?!\d))\d+(?:\.\d+){2,}",
            r"\+\d[\d ().-]{6,}\d|\(\d{2,3}\)\s?\d{4,5}[- ]?\d{4}|\b\d{4,5}-\d{4}\b",
            r"\b\d+(?:-\d+){2,}",
            r"\b[^\W\d_]\w*(?:[-_/.][^\W\d_]*)?\d[\w-]*|#\s?\d+|\bn(?:[°º]|os?\.|o )\s?\d+",
            rf"\b\d+{_ORDINAL}\b",
            r"\b(?:order|invoice|ticket|row|line|page|step|option|room|level|phase|lot|item|id|code"
            r"|number|pedido|fatura|nota|chamado|linha|página|passo|etapa|opção|sala|turma|nível|fase"
            r"|lote|código|número|facture|commande|ligne|étape|salle|niveau|article|numéro|semaine"
            r"|semana|week|every|each|per|at least|cada|pelo menos|chaque|au moins"
            r"|tou(?:te)?s les)[\s*_]+\d[\d.,]*(?!\w)",
            r"(?<=\w )(?-i:[^\W\d_a-zà-ÿ])[\w’'-]*,?\s\d+(?![.,%'’]|\w|[ \u00a0\u202f](?:\d|%|€))",
        )
    ),
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_EXPONENTS = {
    word: exponent
    for exponent, words in (
        (3, "k mil thousand mille"),
        (6, "m mi mio million millions milhão milhões"),
        (9, "b bi bn md mds billion billions bilhão bilhões milliard milliards"),
        (12, "tri trillion trillions trilhão trilhões"),
    )
    for word in words.split()
}
_NUMBER = re.compile(
    rf"(?P<currency>{_CURRENCY}[ \u00a0\u202f]?)?(?<!\w)(?<!\d[.,])"
    r"(?P<digits>\d{1,3}(?:(?P<group>[ \u00a0\u202f'’.,])\d{3}(?:(?P=group)\d{3})*)(?!\d)"
    r"(?:[.,]\d+)?|\d+(?:[.,]\d+)?)"
    rf"(?:[ \u00a0\u202f]?(?P<scale>(?-i:k|K|M|B)|{'|'.join(w for w in _EXPONENTS if len(w) > 1)})"
    r"(?![^\W_]))?(?P<unit>[ \u00a0\u202f]?"
    rf"(?:(?P<share>%|(?:pp|p\.p\.|points?|pontos?|[x×]|fois|times|vezes)(?!\w))|{_CURRENCY}|(?P<metric>(?-i:[kKmMµ](?:[glLWmAVB]|Wh))\b)))?",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"(?:about|around|roughly|nearly|almost|over|above|under|below|(?:more|less) than|approximately"
    r"|some|just|cerca de|quase|mais de|menos de|aproximadamente|pouco|em torno de|por volta de"
    r"|environ|presque|près de|plus de|moins d[e’']|autour d[e’']|un peu|between|entre|range of"
    rf"|\d[-–]|[~≈±])[\s*_]*(?:{_CURRENCY}|\w+)?[\s*_]*\Z",
    re.IGNORECASE,
)
_WHOLE = re.compile(r"\d+|[1-9]\d{0,2}(?:([.,])\d{3})(?:\1\d{3})*")
_STATED = re.compile(r"(?:[:=|]|\*\*)[\s*_]*\Z")
MAX_FIGURE_CHARACTERS = 40
_SENTENCE_END = re.compile(r"[.!?](?=\s)|\n")


@dataclass(frozen=True, slots=True)
class Figure:
    """`readings`: the values that it may be, each with how far a value that is rounded to it may
    be away. A small number that is not `is_checked` may count what no code can count."""

    text: str
    sentence: int
    readings: tuple[tuple[float, float], ...]
    is_share: bool
    is_checked: bool


def find_figures(text: str) -> Iterator[Figure]:
    """Yield the numbers of a text, but for days, times, names, code, quotes and the like."""
    text = _NO_FIGURES.sub(lambda match: re.sub(r"[^\n]", "\x00", match[0]), text)
    for number, sentence in enumerate(_SENTENCE_END.split(text)):
        for match in _NUMBER.finditer(sentence):
            before = sentence[: match.start()][-40:]
            is_long = len(re.sub(r"\D", "", match["digits"])) > 2
            is_marked = match["currency"] or match["scale"] or match["unit"]
            yield Figure(
                match[0].strip(),
                number,
                tuple(_read(match, _ABOUT.search(before) is not None)),
                bool(match["share"]),
                len(match[0]) <= MAX_FIGURE_CHARACTERS
                and bool(is_long or is_marked or _STATED.search(before)),
            )


def find_numbers(text: str) -> Iterator[float]:
    """Yield what the numbers of a text may mean, whatever they stand for."""
    yield from map(float, re.findall(r"(?<=[-#/A-Za-z])\d{1,15}(?![.,]?\d)", text))
    for match in _NUMBER.finditer(text):
        yield from (value for value, _ in _read(match))


def _read(match: re.Match[str], is_about: bool = False) -> Iterator[tuple[float, float]]:
    """Yield what a number may mean, each with its tolerance: `1.234` is 1234 in Portuguese."""
    plain = re.sub(r"[^\d.,]", "", match["digits"][:MAX_FIGURE_CHARACTERS])
    forms = [(plain, "")] if _WHOLE.fullmatch(plain) else []
    whole, sign, places = re.split(r"([.,])(?=\d+\Z)|\Z", plain, maxsplit=1)
    if sign and sign not in whole:
        forms.append((whole, places))
    exponent = _EXPONENTS.get((match["scale"] or "").lower(), 0)
    for whole, places in forms:
        digits = re.sub("[.,]", "", whole)
        value = float(f"{digits}.{places}")
        # “62,000” may be rounded to thousands, “about 9,400” to hundreds, “nearly 9,400” be 9,350.
        zeros = 0 if places else len(digits) - len(digits.rstrip("0"))
        unit = 10.0 ** ((zeros if is_about or zeros > 2 else 0) - len(places)) * (
            4 if is_about else 1
        )
        # A column may be in thousands.
        powers = {0, exponent, max(0, exponent - 3), *((-3, 3) if match["metric"] else ())}
        for power in powers:
            yield value * 10.0**power, unit / 2 * 10.0**power
