"""Topics that happen outdoors or in kit: sport, the garden, the road."""

from shared.datasets.vocabulary.topic import Topic, phrases, products

CYCLING = Topic(
    key="cycling",
    label="Cycling",
    related=("travel", "wellness"),
    things=phrases("""gravel bikes; cargo bikes; protected bike lanes; disc brakes; tubeless tyres; folding
        bikes; steel frames; carbon wheels; bike couriers; cycle-to-work schemes; e-bike batteries;
        bikepacking routes; velodromes; indoor trainers; dynamo lights; second-hand road bikes; mountain
        bike trails"""),
    doing=phrases("""cycling to work in winter; fixing a puncture; climbing on a bike; riding a hundred miles;
        bleeding disc brakes; truing a wheel; bikepacking alone; choosing a saddle; riding in a group;
        learning to ride as an adult; descending on wet roads; cleaning a bike chain"""),
    people=phrases("cyclists; club riders; bike commuters; frame builders; bike mechanics; gravel racers"),
    events=phrases("""the spring classic; the national hill climb; the six-day track race; the city bike
        festival; the mountain stage; the handmade bicycle show; the car-free Sunday ride"""),
    brands=phrases("Harrowgate Cycles; Velomar; Tandem & Tonic; Kettlecrank; Northspoke"),
    offers=phrases("""a professional bike fit; a guided gravel weekend; a cargo bike subscription; bike
        theft cover; a spring bike service; a training camp in Mallorca"""),
    products=products("""gravel bike 1650; city e-bike 2400; bike helmet 79; bib shorts 95; handlebar bag 54;
        floor pump 42; cycling jersey 68; front light 49; saddle 85; pannier pair 110; cycling multi-tool 26;
        tubeless tyre 48; indoor bike trainer 520; clip-in cycling shoes 140"""),
    finishes=phrases("""in matt black; in racing green; in high-visibility yellow;
        in slate blue; winter edition"""),
)

FOOTBALL = Topic(
    key="football",
    label="Football",
    related=("running", "politics"),
    things=phrases("""penalty shoot-outs; away fans; transfer fees; offside rules; goalkeepers; youth
        academies; video referees; artificial pitches; women's football leagues; derby matches; back-three
        formations; season tickets; stadium safe-standing areas; football shirts; relegation battles; free
        kicks"""),
    doing=phrases("""taking a penalty; coaching an under-tens team; pressing from the front; scouting young
        strikers; refereeing Sunday football; defending a corner; playing out from the back; running a
        football club; collecting old football shirts; watching football abroad; returning from a knee
        injury; training as a goalkeeper"""),
    people=phrases("football supporters; referees; youth coaches; midfielders; club owners; football scouts"),
    events=phrases("""the cup final; the promotion play-off; the winter transfer window; the city derby;
        the women's league opener; the international break; the charity five-a-side"""),
    brands=phrases("Terrace Eleven; Corner Flag; Studline; Halfway Line; Kopfball"),
    offers=phrases("""a half-season ticket; a live football pass; a stadium tour for two; a summer football
        school; a personalised club shirt; a goalkeeping masterclass"""),
    products=products("""match football 32; goalkeeper gloves 38; football boots 89; shin pads 18; training
        bibs 24; folding goal 65; football scarf 17; captain's armband 8; retro football shirt 55; tactics
        board 29; agility cones 14; referee whistle 12; team kit bag 46; rebound net 98"""),
    finishes=phrases("in red and white; in navy; junior size; club edition; match edition"),
)

RUNNING = Topic(
    key="running",
    label="Running",
    related=("wellness", "hiking"),
    things=phrases("""carbon-plated running shoes; marathon training plans; park runs; heart-rate zones;
        track spikes; trail races; interval sessions; pacemakers; running clubs; tempo runs; barefoot
        shoes; energy gels; half marathons; treadmill workouts; shin splints; ultramarathons"""),
    doing=phrases("""running a first marathon; running in the heat; starting to run at fifty; running
        downhill; tapering before a race; pacing a half marathon; running with a pram; doing hill repeats;
        breathing well on a run; coming back from shin splints; running at dawn; training by heart rate"""),
    people=phrases("runners; marathoners; running coaches; sprinters; ultrarunners; race organisers"),
    events=phrases("""the spring marathon; the midnight ten-kilometre run; the mountain ultra; the relay
        championship; the indoor athletics final; the women's half marathon; the cross-country season"""),
    brands=phrases("Strideworks; Longrun; Fell & Track; Cadence Lab; Swiftmoor"),
    offers=phrases("""a gait analysis; a marathon training plan; a running club trial; a race-entry bundle;
        a sports massage; a winter running camp"""),
    products=products("""trail running shoes 135; road running shoes 120; running watch 229; hydration vest
        88; running socks 14; reflective running jacket 92; split running shorts 39; running cap 24; foam
        roller 27; energy gel box 30; head torch 45; heart-rate strap 62; phone running belt 21; compression
        calf sleeves 29"""),
    finishes=phrases("in coral; in night blue; in lime; for wet weather; race edition"),
)

HIKING = Topic(
    key="hiking",
    label="Hiking",
    related=("travel", "photography"),
    things=phrases("""long-distance trails; mountain huts; wild camping spots; ultralight tents; avalanche
        warnings; waymarks; ridge walks; trekking poles; rope bridges; mountain rescue teams; coastal paths;
        glacier crossings; via ferratas; bothies; hiking boots; national parks"""),
    doing=phrases("""hiking alone; reading a topographic map; packing an ultralight rucksack; camping in
        the snow; crossing a river on foot; walking hut to hut; hiking with children; waterproofing old
        boots; planning a long-distance hike; scrambling along a ridge; cooking on a camp stove;
        avoiding blisters"""),
    people=phrases("hikers; mountain guides; hill walkers; park rangers; thru-hikers; hut wardens"),
    events=phrases("""the opening of the hut season; the national trail day; the mountain film festival;
        the winter rescue exercise; the three-peaks challenge; the autumn walking week"""),
    brands=phrases("Cairnfield; Highmoss; Larch & Lantern; Ridgeward; Stonepath"),
    offers=phrases("""a guided ridge walk; a hut-to-hut week; a navigation course; a rental tent for the
        weekend; mountain rescue cover; a walking holiday in Madeira"""),
    products=products("""two-person tent 320; trekking poles 75; hiking boots 165; down sleeping bag 240;
        rucksack 130; camp stove 58; rain shell 150; merino base layer 69; water filter 39; insulated
        sleeping mat 95; hiking gaiters 34; compass 28; dry-bag set 31; thermos flask 33"""),
    finishes=phrases("""in moss green; in burnt orange; ultralight version;
        three-season version; in granite grey"""),
)

GARDENING = Topic(
    key="gardening",
    label="Gardening",
    related=("home", "climate"),
    things=phrases("""raised beds; heritage tomatoes; wildflower meadows; rain barrels; community gardens;
        compost heaps; climbing roses; peat-free composts; greenhouses; balcony gardens; fruit trees;
        slug-resistant hostas; no-dig vegetable beds; bee-friendly borders; seed libraries; allotments; herb
        gardens"""),
    doing=phrases("""pruning roses; growing tomatoes on a balcony; making compost; sowing a wildflower meadow;
        planting bulbs in autumn; grafting apple trees; keeping slugs off lettuce; watering in a drought;
        raising seedlings indoors; building a garden pond; saving seeds; growing garlic"""),
    people=phrases("gardeners; allotment holders; botanists; head gardeners; plant breeders; beekeepers"),
    events=phrases("""the spring flower show; the seed-swap Sunday; the open gardens weekend; the giant
        pumpkin contest; the tulip festival; the big garden bird count"""),
    brands=phrases("Loam & Leaf; Thistlewick; Green Trug; Orchard Lane; Pottingshed"),
    offers=phrases("""a vegetable seed subscription; a garden design visit; a bulb-planting workshop;
        a monthly plant delivery; tree surgery; a greenhouse on instalments"""),
    products=products("""bypass secateurs 36; raised bed kit 89; watering can 32; seed potting tray 18;
        garden fork 44; greenhouse heater 72; compost bin 65; rain barrel 79; pruning saw 29; gardening
        gloves 16; plant grow light 49; bulb planter 19; self-watering pot 27; kneeling cushion 15"""),
    finishes=phrases("in sage green; in moss; for small gardens; in black; in terracotta"),
)

CARS = Topic(
    key="cars",
    label="Electric Cars",
    related=("climate", "gadgets"),
    things=phrases("""charging stations; solid-state batteries; electric vans; range estimates; used
        electric cars; kerbside chargers; battery swaps; heat pumps in cars; one-pedal drivers; autonomous
        taxis; hybrid estates; motorway charging hubs; over-the-air updates; electric pick-ups; low-emission
        zones; parking apps"""),
    doing=phrases("""charging at home; buying a used electric car; driving across Europe on batteries;
        towing with an electric car; sharing a car with neighbours; preheating a car in winter;
        leasing an electric car; converting a classic car; reading a battery health report; parking by camera;
        driving in snow; planning charging stops"""),
    people=phrases("drivers; car makers; charging operators; motorists; taxi firms; battery engineers"),
    events=phrases("""the autumn motor show; the winter range test; the classic car rally; the solar car race;
        the battery summit; the safety crash-test round"""),
    brands=phrases("Ampere Road; Voltaire Motors; Plugwell; Kilowatt & Co; Silentdrive"),
    offers=phrases("""a home wallbox with installation; a weekend electric test drive; a green charging
        tariff; a car subscription; winter tyre storage; a battery health check"""),
    products=products("""home wallbox 690; type 2 charging cable 189; dash camera 119; child car seat 210;
        roof box 380; all-weather floor mats 59; car phone mount 24; tyre inflator 54; snow chains 68; boot
        organiser 27; car seat cover set 74; portable jump starter 92; tow-bar bike carrier 340; cable
        storage bag 29"""),
    finishes=phrases("with long warranty; for compact cars; for long trips; in graphite; travel version"),
)

TOPICS = (CYCLING, FOOTBALL, RUNNING, HIKING, GARDENING, CARS)
