"""Topics of the mind and the wide world: science, technology, the arts, public life."""

from shared.datasets.vocabulary.topic import Topic, phrases, products

AI = Topic(
    key="ai",
    label="Artificial Intelligence",
    related=("gadgets", "politics"),
    things=phrases("""language models; chatbots; AI tutors; deepfake videos; data centres; open-source
        models; robot arms; machine translations; AI safety tests; training data deals; coding
        assistants; recommendation algorithms; voice clones; neural chips; facial recognition cameras;
        synthetic images"""),
    doing=phrases("""training a small language model; spotting a deepfake; writing better prompts; coding
        with an assistant; running a model on a laptop; teaching with chatbots; labelling data; translating
        a novel by machine; auditing an algorithm; building a robot at home; learning machine learning;
        regulating AI"""),
    people=phrases(
        """AI researchers; software developers; teachers using AI; regulators; start-up founders; data
        scientists"""
    ),
    events=phrases("""the AI safety summit; the robotics world cup; the machine learning conference;
        the copyright trial over training data; the chatbot exam; the open-model release"""),
    brands=phrases("Gradient Works; Tensorfield; Parrot & Proof; Deepwell; Lumen Logic"),
    offers=phrases("""a machine learning course; an AI writing assistant; a meeting-notes robot; a coding
        copilot trial; GPU time by the minute; a chatbot for small shops"""),
)

GADGETS = Topic(
    key="gadgets",
    label="Gadgets",
    related=("ai", "photography"),
    things=phrases("""foldable phones; noise-cancelling headphones; smart watches; repairable laptops;
        e-readers; robot vacuums; phone batteries; USB-C chargers; smart speakers; budget tablets;
        mechanical keyboards; wireless earbuds; home routers; smart thermostats; refurbished phones;
        foldable screens"""),
    doing=phrases("""replacing a phone battery; setting up a home server; choosing a laptop; backing up
        photos; quitting a smart phone; speeding up home wi-fi; repairing a cracked screen; building a
        keyboard; buying refurbished; moving to a new phone; blocking spam calls; reading on an e-reader"""),
    people=phrases("""gadget reviewers; phone makers; repair shops; early adopters;
        laptop buyers; hardware hackers"""),
    events=phrases("""the spring phone launch; the consumer electronics fair; the repair festival; the maker
        fair; the chip shortage; the right-to-repair vote"""),
    brands=phrases("Oxbow Devices; Nimbus Mobile; Pixelforge; Calder Audio; Fernwood Tech"),
    offers=phrases("""a phone plan without contract; a laptop trade-in; screen repair at home; a refurbished
        tablet deal; a faster broadband line; headphone rental"""),
    products=products("""noise-cancelling headphones 249; wireless earbuds 119; smart watch 279; e-reader 149;
        mechanical keyboard 135; USB-C charger 35; power bank 44; budget tablet 229; robot vacuum 379;
        smart speaker 99; wi-fi router 139; laptop stand 42; foldable phone 999; smart thermostat 169"""),
    finishes=phrases("in midnight; in silver; second generation; with travel case; in sea green"),
)

GAMING = Topic(
    key="gaming",
    label="Video Games",
    related=("gadgets", "cinema"),
    things=phrases("""indie games; speedruns; retro consoles; role-playing games; loot boxes; handheld
        consoles; boss fights; esports teams; farming simulators; game studios; pixel-art adventures; open
        worlds; puzzle games; virtual reality headsets; game soundtracks; strategy games; modding
        communities"""),
    doing=phrases("""speedrunning a platform game; building a gaming PC; restoring a retro console; beating
        the final boss; making a first video game; streaming games for a living; playing games with
        children; modding an old classic; collecting cartridges; gaming on a train; designing a puzzle
        level; winning at strategy games"""),
    people=phrases("""gamers; speedrunners; game developers; esports players;
        console collectors; level designers"""),
    events=phrases("""the esports world final; the indie game award night; the charity speedrun marathon;
        the retro gaming fair; the summer console showcase; the forty-eight-hour game jam"""),
    brands=phrases("Joyfield; Bitlantern; Respawn Row; Northpixel; Arcadia Works"),
    offers=phrases("""a month of cloud gaming; a game pass for families; a handheld console bundle; a game
        design course; an esports ticket; a retro arcade evening"""),
    products=products("""handheld console 299; wireless game controller 64; gaming headset 89; gaming mouse
        59; gaming chair 245; retro mini console 99; arcade stick 139; racing wheel 269; gaming monitor 320;
        virtual reality headset 449; console carrying case 29; controller charging dock 34; gaming keyboard
        109; capture card 129"""),
    finishes=phrases("in white; in neon red; tournament edition; collector's edition; limited edition"),
)

SPACE = Topic(
    key="space",
    label="Space",
    related=("photography", "ai"),
    things=phrases("""Moon landers; Mars rovers; reusable rockets; exoplanets; space telescopes; meteor
        showers; satellite swarms; black holes; solar storms; comet flybys; space stations; dark skies;
        asteroid samples; lunar craters; radio telescopes; amateur astronomers"""),
    doing=phrases("""photographing the Milky Way; watching a meteor shower; training as an astronaut;
        landing on the Moon; finding an exoplanet; building a backyard observatory; tracking satellites;
        living on a space station; grinding a telescope mirror; naming an asteroid; launching a small
        satellite; observing Saturn's rings"""),
    people=phrases("""astronomers; astronauts; rocket engineers; stargazers;
        planetary scientists; flight controllers"""),
    events=phrases("""the total solar eclipse; the lunar launch; the comet flyby; the star party;
        the space agency's budget vote; the Mars landing anniversary"""),
    brands=phrases("Perihelion; Nightsky Optics; Apogee & Sons; Zenith Lane; Orbitarium"),
    offers=phrases("""a stargazing weekend; a planetarium family ticket; a first telescope bundle; an
        eclipse trip; an astronomy evening course; a meteorite collector's box"""),
    products=products("""reflector telescope 340; stargazing binoculars 129; star chart 18; telescope
        eyepiece 69; planetarium projector 84; Moon globe 45; rocket model kit 39; astronomy red torch 21;
        telescope phone adapter 37; smart telescope 899; solar eclipse glasses 9; meteorite sample 55;
        star-tracker mount 389; space mission poster 24"""),
    finishes=phrases("for beginners; with tripod; school edition; compact version; anniversary edition"),
)

CLIMATE = Topic(
    key="climate",
    label="Climate & Nature",
    related=("politics", "gardening"),
    things=phrases("""heatwaves; wind farms; solar roofs; melting glaciers; river floods; carbon taxes;
        coral reefs; rewilded valleys; peat bogs; urban trees; plastic bans; wildfire seasons; beaver dams;
        electric ferries; bird migrations; sea walls; heat pumps"""),
    doing=phrases("""cutting household emissions; restoring a peat bog; planting city trees; counting birds;
        cooling a city; living without plastic; insulating old schools; protecting a coastline;
        bringing back beavers; farming without ploughing; flying less; reusing rainwater"""),
    people=phrases("""climate scientists; ecologists; farmers; coastal residents;
        conservationists; grid operators"""),
    events=phrases("""the climate summit; the spring flood warning; the great bird count; the river clean-up;
        the hottest week of the year; the emissions trial"""),
    brands=phrases("Windrush Energy; Tidal Trust; Greenhouse Nine; Solstice Power; Wren & River"),
    offers=phrases("""a solar roof quote; a green electricity tariff; a tree planted in your name;
        a heat-pump grant check; a rain garden kit; a repair voucher"""),
)

POLITICS = Topic(
    key="politics",
    label="Politics",
    related=("finance", "climate"),
    things=phrases("""coalition talks; local elections; housing bills; postal votes; trade agreements; party
        conferences; opinion polls; border checks; citizens' assemblies; school reforms; ministers' diaries;
        campaign donations; bus timetables; town councils; court rulings; voting ages"""),
    doing=phrases("""running for the town council; counting postal votes; forming a coalition; reforming the
        senate; voting at sixteen; lobbying parliament; reading an opinion poll; drafting a housing bill;
        leading the opposition; fact-checking a debate; funding local buses; resigning from office"""),
    people=phrases("voters; ministers; mayors; opposition leaders; pollsters; civil servants"),
    events=phrases("""the general election; the leadership debate; the budget vote; the mayoral run-off;
        the constitutional court hearing; the referendum"""),
    brands=phrases("The Lobby Desk; Hemicycle; Ballot Box; Backbench; Public Square"),
)

TRAVEL = Topic(
    key="travel",
    label="Travel",
    related=("hiking", "photography"),
    things=phrases("""night trains; island ferries; family-run hotels; rail passes; airport queues; desert
        camps; city breaks; old-town hostels; travel visas; hidden beaches; house swaps; lakeside towns;
        tourist taxes; mountain railways; market squares; campervans; harbour towns"""),
    doing=phrases("""crossing Europe by night train; travelling alone; packing hand luggage; swapping houses;
        sleeping in a lighthouse; island hopping; learning a few words of Greek; driving a campervan;
        avoiding the crowds; travelling with grandparents; booking a slow journey; eating like a local"""),
    people=phrases("travellers; backpackers; hoteliers; night-train passengers; tour guides; ferry captains"),
    events=phrases("""the reopening of the night train; the lantern festival; the summer ferry season; the
        carnival; the winter light festival; the travel fair"""),
    brands=phrases("Compass & Coast; Wayfarer Lines; Slowboat; Blue Harbour; Meridian Stays"),
    offers=phrases("""a rail pass for a month; a weekend in Lisbon; a campervan hire; a house-swap membership;
        travel insurance; a family-run hotel by the sea"""),
    products=products("""cabin suitcase 149; packing cube set 32; travel pillow 29; passport wallet 38;
        travel adapter 24; weekend bag 119; travel towel 21; luggage scale 15; money belt 19; phrasebook
        bundle 27; toiletry bag 34; scratch-off world map 26; travel backpack 139; foldable day bag 31"""),
    finishes=phrases("in olive; in navy blue; carry-on size; lightweight version; in sunset red"),
)

PHOTOGRAPHY = Topic(
    key="photography",
    label="Photography",
    related=("travel", "cinema"),
    things=phrases("""film cameras; street portraits; mirrorless cameras; darkrooms; prime lenses; wildlife
        photographs; photo books; drone shots; instant cameras; long exposures; family albums; camera
        obscuras; press photographs; macro lenses; black-and-white prints; photo archives"""),
    doing=phrases("""photographing strangers; developing film at home; shooting at night; editing portraits;
        photographing birds; printing in a darkroom; choosing a first lens; flying a camera drone;
        scanning old negatives; lighting with one lamp; making a photo book; taking pictures in fog"""),
    people=phrases("""photographers; photojournalists; portraitists; camera collectors;
        picture editors; darkroom printers"""),
    events=phrases("""the press photo award night; the portrait prize; the street photography festival;
        the wildlife picture contest; the vintage camera fair; the photo-book week"""),
    brands=phrases("Halide & Co; Aperture Lane; Silverprint; Lenscraft; Bellows Bros"),
    offers=phrases("""a night photography walk; a portrait session; a photo-book voucher; a lens rental
        weekend; a darkroom course; a cloud photo archive"""),
    products=products("""mirrorless camera 899; prime lens 320; carbon tripod 210; camera strap 39; camera
        backpack 135; instant camera 89; black-and-white film pack 28; ring light 49; camera drone 620;
        photo printer 179; memory card 32; light meter 115; film scanner 199; photo album 26"""),
    finishes=phrases("in black and silver; in tan leather; for beginners; studio version; travel kit"),
)

MUSIC = Topic(
    key="music",
    label="Music",
    related=("cinema", "gadgets"),
    things=phrases("""vinyl records; string quartets; synthesizers; jazz clubs; choirs; concert halls;
        bedroom producers; festival line-ups; brass bands; piano lessons; lost recordings; folk songs; opera
        houses; streaming royalties; guitar pedals; record shops; debut albums"""),
    doing=phrases("""learning the piano as an adult; recording at home; collecting vinyl records; singing in
        a choir; tuning a guitar by ear; writing a chorus; playing jazz standards; restoring an old violin;
        busking in the underground; mixing a first track; practising scales; conducting an orchestra"""),
    people=phrases("""musicians; songwriters; jazz drummers; record collectors;
        choir singers; sound engineers"""),
    events=phrases("""the summer music festival; the piano competition; the opera premiere; the jazz weekend;
        record store day; the farewell concert"""),
    brands=phrases("Overtone; Blue Note Lane; Resonance Hall; Capo & Coda; Turntable Tales"),
    offers=phrases("""an online piano course; a concert season ticket; a vinyl club membership; a violin
        rental; a songwriting weekend; a home studio bundle"""),
    products=products("""record turntable 279; acoustic guitar 240; digital piano 640; studio microphone
        149; guitar pedal 118; ukulele 69; portable synthesizer 329; music stand 27; drum practice pad 34;
        vinyl storage crate 44; guitar strings 11; chromatic tuner 19; bookshelf loudspeakers 389; harmonica
        31"""),
    finishes=phrases("in natural spruce; in sunburst; stage version; student version; in piano black"),
)

CINEMA = Topic(
    key="cinema",
    label="Film & Television",
    related=("books", "music"),
    things=phrases("""silent films; courtroom dramas; arthouse cinemas; animated films; film scores;
        crime series; documentary makers; movie remakes; stunt doubles; screenplays; horror sequels;
        costume dramas; short films; film festivals; cliffhanger endings; subtitled comedies;
        science-fiction epics"""),
    doing=phrases("""writing a screenplay; restoring silent films; shooting a documentary; building film sets;
        dubbing foreign series; scoring a thriller; running a village cinema; editing a short film;
        casting unknown actors; filming in one take; animating by hand; rewatching old westerns"""),
    people=phrases("film directors; screenwriters; actors; projectionists; film critics; stunt performers"),
    events=phrases("""the film festival; the awards night; the open-air cinema season; the series finale;
        the short-film night; the animation retrospective"""),
    brands=phrases("Lantern Pictures; Reel & Row; Matinee House; Silver Screen Club; Cutting Room"),
    offers=phrases("""a month of arthouse streaming; a cinema pass for two; a screenwriting course; a film
        club membership; an open-air cinema ticket; a classic film box"""),
    products=products("""home cinema projector 549; projector screen 139; soundbar 259; film poster 22;
        popcorn maker 48; film director's clapperboard 25; classic film box set 59; streaming stick 49;
        cinema light box 35; screenwriting handbook 24; television wall mount 64; blackout curtain 52; film
        quiz game 29; super-eight film camera 189"""),
    finishes=phrases("""collector's edition; for small living rooms; in matt white;
        anniversary edition; in black"""),
)

BOOKS = Topic(
    key="books",
    label="Books",
    related=("cinema", "parenting"),
    things=phrases("""crime novels; poetry collections; bookshops; debut novels; audio books; public
        libraries; memoirs; translated novels; short stories; book clubs; graphic novels; literary prizes;
        cookery books; banned books; children's classics; second-hand paperbacks; historical novels"""),
    doing=phrases("""writing a first novel; reading a book a week; running a book club; translating poetry;
        opening a bookshop; binding a book by hand; reading Russian classics; finding a publisher; listening
        to audio books; keeping a reading diary; finishing long novels; collecting first editions"""),
    people=phrases("novelists; librarians; booksellers; poets; translators; book-club members"),
    events=phrases("""the book fair; the poetry slam; the novel prize; the library's centenary;
        the crime-writing festival; the long night of reading"""),
    brands=phrases("Quire & Quill; Foxed Pages; Marginalia; Lighthouse Press; The Paper Mill"),
    offers=phrases("""an audio-book trial; a monthly book box; a creative writing course; a library of short
        stories; a book-binding workshop; a second-hand book bundle"""),
    products=products("""illustrated crime novel 24; poetry anthology 19; reading lamp 39; leather bookmark
        12; boxed set of classics 68; book stand 29; notebook for writers 16; graphic novel 27; bookend pair
        33; children's picture book 15; fountain pen 74; book-binding kit 42; reading journal 18;
        large-print novel 21"""),
    finishes=phrases("gift edition; in linen; in olive; in oxblood; library edition"),
)

TOPICS = (AI, GADGETS, GAMING, SPACE, CLIMATE, POLITICS, TRAVEL, PHOTOGRAPHY, MUSIC, CINEMA, BOOKS)
