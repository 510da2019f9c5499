"""Topics of everyday life: the kitchen, the home, the family, the body, the wallet."""

from shared.datasets.vocabulary.topic import Topic, phrases, products

COOKING = Topic(
    key="cooking",
    label="Cooking",
    related=("gardening", "coffee"),
    things=phrases("""sourdough loaves; one-pot dinners; cast-iron pans; fermented vegetables; regional
        cheeses; weeknight curries; handmade noodles; tasting menus; school lunches; street-food stalls;
        olive oils; slow-cooked stews; vegetarian roasts; sharp kitchen knives; family recipes; lemon tarts;
        spice blends"""),
    doing=phrases("""baking sourdough bread; making fresh pasta; cooking for one; sharpening a kitchen
        knife; roasting vegetables; pickling cucumbers; frying the perfect egg; cooking rice without a
        cooker; planning a week of dinners; kneading dough by hand; seasoning a cast-iron pan; making stock
        from leftovers"""),
    people=phrases("home cooks; chefs; bakers; food critics; pastry cooks; cheesemakers"),
    events=phrases("""the night food market; the national baking final; the truffle fair; restaurant week;
        the street-food festival; the harvest supper"""),
    brands=phrases("Ember & Oak; Saltmarsh Kitchen; Copperladle; Brothwell; Mise & Place"),
    offers=phrases("""a weekly recipe box; a knife-skills class; a sourdough starter kit; an olive oil
        subscription; a private chef for an evening; a bread-baking course"""),
    products=products("""cast-iron skillet 64; chef's knife 89; stand mixer 349; bread proofing basket 22;
        pasta machine 58; enamelled casserole 145; digital kitchen scale 26; spice rack 34; mandoline slicer
        31; pepper mill 38; baking stone 45; salad spinner 23; wooden chopping board 48; fermentation jar
        set 29"""),
    finishes=phrases("in cream; in charcoal; for small kitchens; with gift box; in olive"),
)

COFFEE = Topic(
    key="coffee",
    label="Coffee",
    related=("cooking", "travel"),
    things=phrases("""espresso machines; single-origin beans; pour-over brewers; neighbourhood roasteries;
        flat whites; burr grinders; coffee farms; decaf blends; cold brews; barista contests; oat milks;
        cafe regulars; moka pots; reusable cups; coffee prices; latte art classes"""),
    doing=phrases("""pulling a better espresso; roasting coffee at home; steaming oat milk; grinding by
        hand; brewing with a moka pot; tasting coffee like a judge; cutting down on caffeine; opening a
        cafe; making cold brew overnight; descaling a coffee machine; pouring latte art; buying beans from
        farmers"""),
    people=phrases("baristas; coffee roasters; coffee growers; cafe owners; espresso lovers; bean importers"),
    events=phrases("""the barista championship; the coffee harvest; the roasters' fair; the latte art
        throwdown; the arabica auction; the cafe crawl"""),
    brands=phrases("Second Crack; Bluebird Roasters; Tamper & Steam; Kiosk Nine; Morningside Coffee"),
    offers=phrases("""a fresh bean subscription; a barista evening class; an office coffee machine; a
        tasting box; a free bag of house blend; an espresso machine on trial"""),
    products=products("""espresso machine 480; burr coffee grinder 165; pour-over coffee set 39; moka pot 32;
        milk frother 45; gooseneck kettle 78; espresso tamper 28; reusable coffee cup 17; cold-brew carafe 34;
        single-origin coffee beans 16; decaf espresso beans 15; coffee scale 42; cupping spoon set 19;
        paper coffee filters 7"""),
    finishes=phrases("gift edition; house edition; in a cobalt tin; starter size; roaster's choice"),
)

HOME = Topic(
    key="home",
    label="Home & Interiors",
    related=("gardening", "gadgets"),
    things=phrases("""small flats; linen curtains; mid-century chairs; oak floors; heat-pump conversions;
        open shelves; storage beds; limewash walls; terrazzo tiles; vintage lamps; tiny kitchens; draughty
        windows; wool rugs; home offices; renovated farmhouses; reading corners"""),
    doing=phrases("""renovating an old house; painting with limewash; insulating a loft; furnishing a rented
        flat; restoring a wooden chair; tiling a bathroom; hanging wallpaper; lighting a dark room;
        decluttering a wardrobe; laying a wooden floor; building a bookcase; choosing a sofa"""),
    people=phrases("homeowners; tenants; interior designers; carpenters; architects; furniture makers"),
    events=phrases("""the furniture fair; the open house weekend; the winter design week; the antiques market;
        the craft and joinery show; the tiny-house exhibition"""),
    brands=phrases("Hearth & Beam; Lindqvist Living; Plainwood; Oriel House; Nook Street"),
    offers=phrases("""a free interior consultation; a sofa on a hundred-day trial; a home energy check;
        a made-to-measure wardrobe; a paint sample box; a furniture rental plan"""),
    products=products("""three-seat sofa 1190; oak dining table 780; linen curtain pair 94; wool rug 260;
        floor lamp 129; bookcase 210; storage bench 175; bed linen set 88; wall mirror 115; desk lamp 59;
        bar stool 99; scented candle 24; cushion cover pair 32; laundry basket 38"""),
    finishes=phrases("in dove grey; in off-white; in forest green; for small rooms; in ochre"),
)

PARENTING = Topic(
    key="parenting",
    label="Parenting",
    related=("books", "wellness"),
    things=phrases("""bedtime routines; nursery places; toddler tantrums; screen-time rules; school runs;
        picky eaters; parental leave rules; babysitters; playgrounds; summer camps; pocket-money habits;
        teenage bedrooms; newborn nights; homework battles; second-hand prams; reading lessons"""),
    doing=phrases("""putting a baby to sleep; travelling with a toddler; raising bilingual children; sharing
        parental leave; talking to teenagers; weaning a baby; settling into nursery; reading aloud to
        children; limiting screen time; packing a school lunch; raising twins; teaching a child to swim"""),
    people=phrases("parents; midwives; new fathers; nursery teachers; grandparents; child psychologists"),
    events=phrases("""the first day of school; the family fun day; the national play week; the toy library
        opening; the school holiday week; the baby and toddler fair"""),
    brands=phrases("Little Otter; Pramwell; Cuddlebrook; Tumbletots & Co; Sparrow & Spoon"),
    offers=phrases("""a toy rental box; a baby first-aid course; a monthly nappy delivery; a babysitting
        trial; a parent and baby swim class; a storybook subscription"""),
    products=products("""folding pram 420; baby carrier 129; cot mattress 115; wooden building blocks 36;
        baby monitor 98; high chair 140; children's balance board 75; night light 26; toddler rain suit 49;
        nappy changing bag 69; bath thermometer 13; stacking toy 19; children's lunch box 18; muslin cloth
        set 22"""),
    finishes=phrases("in soft grey; in mustard; in oat; in raspberry; in sky blue"),
)

WELLNESS = Topic(
    key="wellness",
    label="Health & Sleep",
    related=("running", "cooking"),
    things=phrases("""sleep trackers; cold-water swimmers; breathing exercises; morning routines;
        vitamin D pills; yoga studios; standing desks; migraine treatments; short naps; gut bacteria;
        hay-fever remedies; meditation apps; blood-pressure readings; back-pain exercises; night shifts;
        waiting lists"""),
    doing=phrases("""sleeping through the night; swimming in cold water; meditating for ten minutes; easing
        back pain; stretching at a desk; giving up sugar; managing hay fever; strengthening knees; waking up
        without an alarm; practising yoga at home; lowering blood pressure; walking ten thousand steps"""),
    people=phrases("doctors; sleep researchers; physiotherapists; yoga teachers; nurses; light sleepers"),
    events=phrases("""the national sleep week; the open-water swim; the flu season; the yoga gathering;
        the hospital open day; the dry January campaign"""),
    brands=phrases("Stillwater; Calmhouse; Restwell; Seven Breaths; Linden Health"),
    offers=phrases("""a sleep coaching app; a month of yoga; an online physiotherapy session; a mattress
        trial; a health check; a meditation retreat"""),
    products=products("""memory-foam pillow 59; yoga mat 45; weighted blanket 109; sunrise alarm clock 84;
        massage gun 130; resistance band set 24; sleep mask 19; essential oil diffuser 39; acupressure mat 35;
        blood-pressure monitor 62; standing desk 390; meditation cushion 48; white-noise machine 52;
        earplug set 15"""),
    finishes=phrases("in lavender; in sand; in pearl grey; travel size; in deep blue"),
)

FINANCE = Topic(
    key="finance",
    label="Personal Finance",
    related=("home", "politics"),
    things=phrases("""index funds; fixed-rate mortgages; pension gaps; savings accounts; rent increases;
        emergency funds; dividend shares; credit scores; bank fees; inheritance taxes; inflation figures;
        student loans; household budgets; green bonds; stock-market bubbles; first-time buyers"""),
    doing=phrases("""saving for a pension; paying off a mortgage early; investing a small sum; living on one
        income; negotiating a salary; filing a tax return; building an emergency fund; splitting bills
        fairly; retiring at fifty-five; choosing an index fund; getting out of debt; talking about money"""),
    people=phrases("savers; economists; mortgage brokers; small investors; pensioners; financial advisers"),
    events=phrases("""the interest-rate decision; the autumn budget; the quarterly earnings season;
        tax-return day; the central bank meeting; the pension reform vote"""),
    brands=phrases("Pennywell; Northgate Savings; Ledgerly; Oakvault; Fairshare Bank"),
    offers=phrases("""a free pension check; a fee-free current account; a fixed-rate saver; a first mortgage
        call; a tax-return assistant; a budget planner app"""),
)

PETS = Topic(
    key="pets",
    label="Pets",
    related=("home", "parenting"),
    things=phrases("""rescue dogs; indoor cats; puppy classes; dog parks; vet bills; raw diets; guide dogs;
        aquarium plants; house rabbits; cat cafes; parrots; microchip rules; anxious dogs; senior cats;
        budgerigars; dog walkers; animal shelters"""),
    doing=phrases("""training a puppy; adopting a rescue dog; introducing two cats; walking a stubborn dog;
        setting up an aquarium; keeping rabbits indoors; brushing a cat's teeth; travelling with a dog;
        teaching a parrot to talk; calming a nervous dog; feeding an old cat; choosing a vet"""),
    people=phrases("dog owners; vets; cat lovers; shelter volunteers; dog trainers; rabbit keepers"),
    events=phrases("""the national dog show; the shelter adoption day; the cat fanciers' exhibition;
        the guide-dog graduation; the pet photo contest; the agility trial"""),
    brands=phrases("Wag & Whisker; Pawsome Lane; Furrowfield; Biscuit & Bone; Tailwind Pets"),
    offers=phrases("""pet insurance; a puppy training course; a fresh dog-food trial; an online vet call;
        a dog-sitting weekend; a cat toy box"""),
    products=products("""dog harness 34; cat scratching post 49; orthopaedic dog bed 85; aquarium filter 42;
        automatic cat feeder 79; dog lead 22; puppy playpen 69; rabbit hutch 160; grooming brush 18;
        cat carrier 38; bird cage 120; slow-feeder dog bowl 16; pet water fountain 36; dog raincoat 31"""),
    finishes=phrases("in tan; in teal; in charcoal; compact version; washable version"),
)

FASHION = Topic(
    key="fashion",
    label="Fashion",
    related=("home", "cinema"),
    things=phrases("""vintage denim jackets; capsule wardrobes; wool coats; repair cafes; linen suits;
        platform shoes; charity-shop finds; silk scarves; fast-fashion chains; tailored trousers;
        hand-knitted jumpers; clothes swaps; leather bags; runway shows; school uniforms; natural dyes"""),
    doing=phrases("""mending a jumper; building a capsule wardrobe; dressing for a winter wedding; buying
        vintage denim; knitting socks; tailoring a suit; dyeing with plants; selling clothes online; caring
        for leather; sewing a first dress; washing wool; wearing colour after sixty"""),
    people=phrases("designers; tailors; vintage dealers; models; textile workers; stylists"),
    events=phrases("""fashion week; the graduate show; the vintage kilo sale; the knitwear fair;
        the couture exhibition; the big clothes swap"""),
    brands=phrases("Maison Alder; Threadneedle & Vine; Coldharbour; Fable Knit; Rue Marlow"),
    offers=phrases("""a personal styling hour; a dress rental; a shoe repair by post; a tailoring appointment;
        a wardrobe clear-out; a knitting kit"""),
    products=products("""wool overcoat 289; denim jacket 98; leather ankle boots 159; silk scarf 65; linen
        shirt 72; canvas trainers 69; cashmere jumper 175; pleated midi skirt 84; leather belt 39; crossbody
        bag 120; straight-leg jeans 89; wool beanie 28; tailored blazer 198; raincoat 145"""),
    finishes=phrases("in camel; in ink blue; in burgundy; in charcoal; autumn edition"),
)

TOPICS = (COOKING, COFFEE, HOME, PARENTING, WELLNESS, FINANCE, PETS, FASHION)
