"""Candidates for tests of pure functions."""

from dataclasses import dataclass

from services.orchestrator.slate import Candidate, Scored, Source
from tests.stand_ins import DAY, NOW


@dataclass
class PlainItem:
    item_id: str
    title: str = ""
    category: str = ""
    publisher: str = ""
    domain: str = "news"
    language: str = "en"


def make_candidate(number: int, **fields) -> Candidate:
    """Candidate `i<number>`, popular, of category `c<number % 4>`, a year old; `fields` change that."""
    item = PlainItem(
        f"i{number}",
        f"Title {number}",
        category=fields.pop("category", f"c{number % 4}"),
        publisher=fields.pop("publisher", f"p{number % 6}"),
        domain=fields.pop("domain", "news"),
        language=fields.pop("language", "en"),
    )
    given = {
        "published_at": NOW - 365 * DAY,
        "sources": (Source.POPULAR,),
        "retrieval_score": 0.5,
        "popularity": 0.0,
        "anchor_item_id": "",
        **fields,
    }
    return Candidate(item.item_id, item.category, item.publisher, item=item, **given)


def make_scored(number: int, score: float, **fields) -> Scored:
    """Such a candidate with a score."""
    freshness, interest = fields.pop("freshness", 0.0), fields.pop("interest", 0.0)
    blended = fields.pop("blended", False)
    return Scored(make_candidate(number, **fields), score, (), freshness, interest, blended)
