"""Title and summary patterns per domain, and the invented names beside them. Slots: things, doing, people,
event, city, n, number (in words), brand, product, finish, series, manner, offer; `other` is a phrase of a
second topic."""

from collections.abc import Mapping

TITLES: Mapping[str, tuple[str, ...]] = {
    "news": (
        "Why {people} are rethinking {things}",
        "{things} are back, and {people} have noticed",
        "The quiet return of {things}",
        "{city} puts {things} at the heart of its plans",
        "What {people} really think of {things}",
        "New rules on {things} divide {people}",
        "How {things} won over {city}",
        "A study of {things} brings a surprising result",
        "The long argument about {things} is not over",
        "{people} make the case for {doing}",
        "Is {doing} overrated? Some {people} think so",
        "{doing} is getting easier, say {people}",
        "The new appeal of {doing}",
        "What {doing} taught a {city} neighbourhood",
        "{event} comes to {city}",
        "What to expect from {event}",
        "{number} things we learned from {event}",
        "{event} divides {city}",
        "After {event}, all eyes are on {things}",
        "{people} in {city} prepare for {event}",
        "Who pays for {things}? {city} wants answers",
        "Doubts grow over {things} before {event}",
        "The {city} experiment that began with {things}",
        "Opinion: we should talk more about {things}",
        "In pictures: {things} through {number} decades",
        "{people} worry about the future of {things}",
    ),
    "shop": (
        "{brand} {product}{finish}",
        "{brand} {series} {product}",
        "{product}{finish}, by {brand}",
        "{manner} {product} from {brand}",
        "{brand} {series} {product}{finish}",
    ),
    "video": (
        "{doing}: the complete beginner's guide",
        "{doing} in {number} simple steps",
        "I spent {n} days {doing}",
        "{number} mistakes {people} make with {things}",
        "An honest look at {things}",
        "The truth about {things}",
        "{things}, explained in {n} minutes",
        "A day with the {people} of {city}",
        "Behind the scenes at {event}",
        "{event} in {n} minutes",
        "Everything I know about {doing}",
        "{people} answer your questions about {things}",
        "Live from {city}: {event}",
        "Is {doing} worth the effort?",
        "How {people} see {things}",
        "{doing}, the {city} way",
        "What nobody tells you about {doing}",
        "{things} from another angle",
    ),
    "ads": (
        "Try {offer} with {brand}",
        "{offer}: {n}% off this week",
        "{brand} brings you {offer}, now in {city}",
        "Ready for {event}? {brand} is",
        "Give {offer} as a present",
        "New from {brand}: {offer}",
        "Calling all {people}: {offer} for less",
        "For {people} who dream of {doing}: {brand}",
    ),
}

SUMMARIES: Mapping[str, tuple[str, ...]] = {
    "news": (
        "Our reporter met {people} in {city} to talk about {things} and what comes next.",
        "From {things} to {doing}: what has changed, who gains and who is left out.",
        "Interest in {things} keeps rising. We look at the numbers behind the trend.",
        "Ahead of {event}, {people} explain why {doing} matters more than it seems.",
        "An analysis of {things}, with voices from {city} and a look at the costs.",
    ),
    "shop": (
        "Made for {people} and for {doing}. {n}-month guarantee, free returns.",
        "A reliable choice for {doing}, tested by {people} in {city}.",
        "Well finished and easy to care for. A favourite of {people} since {event}.",
        "Designed in {city} with {people}. Ships within {number} days.",
    ),
    "video": (
        "We talk to {people} about {things}, step by step and without jargon.",
        "Filmed in {city}: {doing}, with all the mistakes left in.",
        "A closer look at {things}, plus tips on {doing}.",
        "Everything you asked about {doing}, answered by {people}.",
    ),
    "ads": (
        "For {people} and everyone who enjoys {doing}. Cancel any time.",
        "Loved by {people} in {city}. Offer ends after {event}.",
        "Everything around {things}, from people who know them.",
    ),
}

SECOND_TOPIC = (
    "Also for those interested in {other}.",
    "With a detour to {other}.",
    "Related: {other}.",
)

CITIES = (
    "Lisbon",
    "Leipzig",
    "Utrecht",
    "Bergen",
    "Turin",
    "Porto",
    "Glasgow",
    "Ghent",
    "Lyon",
    "Seville",
    "Krakow",
    "Tallinn",
    "Graz",
    "Malmo",
    "Bristol",
    "Basel",
    "Aarhus",
    "Valencia",
    "Galway",
    "Ljubljana",
    "Montreal",
    "Kyoto",
    "Wellington",
    "Austin",
)
NUMBERS = ("three", "four", "five", "six", "seven", "eight", "nine", "ten")
AMOUNTS = (5, 10, 12, 15, 20, 25, 30)
SERIES = (
    "Origin",
    "Meridian",
    "Atlas",
    "Juniper",
    "Solo",
    "Harbour",
    "Pioneer",
    "Classic",
    "Linea",
    "Nova",
    "Ember",
)
MANNERS = ("Everyday", "Compact", "Premium", "Reliable", "Essential", "Award-winning", "Bestselling")

NEWSPAPERS = (
    "The Morning Ledger",
    "Northern Courier",
    "City Gazette",
    "The Evening Post-Dispatch",
    "Coastline Daily",
    "The Long Read",
    "Continental Review",
    "Quarterly Observer",
    "Public Wire",
    "The Weekend Sheet",
)
CHANNELS = (
    "Slow Afternoon",
    "Workbench TV",
    "Ask Mirela",
    "Plain Talk",
    "The Second Take",
    "Kitchen Table Stories",
    "Outside Hours",
    "Field Notes",
    "Curious Minds",
    "Open Studio",
)
