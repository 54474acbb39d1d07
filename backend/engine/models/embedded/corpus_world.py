"""The closed world of the demonstration model: tables of true facts, written as compact text.

Nothing here knows how a fact is phrased; `corpus_facts` turns each table into questions and statements.
"""

from __future__ import annotations

from typing import Final


def words(text: str) -> tuple[str, ...]:
    """Split a text at its blanks."""
    return tuple(text.split())


def _rows(text: str) -> tuple[tuple[str, ...], ...]:
    """Split a table of `a | b | c` lines into stripped tuples."""
    lines = (line for line in text.strip().splitlines() if line.strip())
    return tuple(tuple(cell.strip() for cell in line.split("|")) for line in lines)


# country | capital | continent | main language | currency
COUNTRIES: Final = _rows("""
France | Paris | Europe | French | euro
Spain | Madrid | Europe | Spanish | euro
Portugal | Lisbon | Europe | Portuguese | euro
Italy | Rome | Europe | Italian | euro
Germany | Berlin | Europe | German | euro
Austria | Vienna | Europe | German | euro
Greece | Athens | Europe | Greek | euro
Ireland | Dublin | Europe | English | euro
Finland | Helsinki | Europe | Finnish | euro
Estonia | Tallinn | Europe | Estonian | euro
Latvia | Riga | Europe | Latvian | euro
Lithuania | Vilnius | Europe | Lithuanian | euro
Sweden | Stockholm | Europe | Swedish | krona
Norway | Oslo | Europe | Norwegian | krone
Denmark | Copenhagen | Europe | Danish | krone
Iceland | Reykjavik | Europe | Icelandic | krona
Poland | Warsaw | Europe | Polish | zloty
Hungary | Budapest | Europe | Hungarian | forint
Romania | Bucharest | Europe | Romanian | leu
Serbia | Belgrade | Europe | Serbian | dinar
Ukraine | Kyiv | Europe | Ukrainian | hryvnia
Russia | Moscow | Europe | Russian | ruble
England | London | Europe | English | pound
Turkey | Ankara | Asia | Turkish | lira
Japan | Tokyo | Asia | Japanese | yen
China | Beijing | Asia | Chinese | yuan
India | New Delhi | Asia | Hindi | rupee
Nepal | Kathmandu | Asia | Nepali | rupee
Thailand | Bangkok | Asia | Thai | baht
Vietnam | Hanoi | Asia | Vietnamese | dong
Mongolia | Ulaanbaatar | Asia | Mongolian | tugrik
Iran | Tehran | Asia | Persian | rial
Iraq | Baghdad | Asia | Arabic | dinar
Israel | Jerusalem | Asia | Hebrew | shekel
Jordan | Amman | Asia | Arabic | dinar
Qatar | Doha | Asia | Arabic | riyal
Pakistan | Islamabad | Asia | Urdu | rupee
Bangladesh | Dhaka | Asia | Bengali | taka
Malaysia | Kuala Lumpur | Asia | Malay | ringgit
South Korea | Seoul | Asia | Korean | won
Egypt | Cairo | Africa | Arabic | pound
Morocco | Rabat | Africa | Arabic | dirham
Tunisia | Tunis | Africa | Arabic | dinar
Algeria | Algiers | Africa | Arabic | dinar
Kenya | Nairobi | Africa | Swahili | shilling
Ethiopia | Addis Ababa | Africa | Amharic | birr
Ghana | Accra | Africa | English | cedi
Nigeria | Abuja | Africa | English | naira
Senegal | Dakar | Africa | French | franc
Angola | Luanda | Africa | Portuguese | kwanza
Canada | Ottawa | North America | English | dollar
Mexico | Mexico City | North America | Spanish | peso
Cuba | Havana | North America | Spanish | peso
Jamaica | Kingston | North America | English | dollar
Brazil | Brasilia | South America | Portuguese | real
Argentina | Buenos Aires | South America | Spanish | peso
Chile | Santiago | South America | Spanish | peso
Peru | Lima | South America | Spanish | sol
Colombia | Bogota | South America | Spanish | peso
Uruguay | Montevideo | South America | Spanish | peso
Australia | Canberra | Oceania | English | dollar
New Zealand | Wellington | Oceania | English | dollar
Fiji | Suva | Oceania | English | dollar
""")

# animal | legs | food | home | sound (or -) | kind | young
ANIMALS: Final = _rows("""
cat | four | meat | houses | meow | mammal | kitten
dog | four | meat | houses | bark | mammal | puppy
cow | four | grass | farms | moo | mammal | calf
horse | four | grass | farms | neigh | mammal | foal
sheep | four | grass | farms | bleat | mammal | lamb
goat | four | grass | mountains | bleat | mammal | kid
pig | four | roots | farms | grunt | mammal | piglet
lion | four | meat | grasslands | roar | mammal | cub
tiger | four | meat | jungles | roar | mammal | cub
bear | four | berries | forests | growl | mammal | cub
wolf | four | meat | forests | howl | mammal | pup
fox | four | mice | forests | yelp | mammal | kit
rabbit | four | grass | meadows | squeak | mammal | kit
mouse | four | seeds | fields | squeak | mammal | pup
elephant | four | leaves | grasslands | trumpet | mammal | calf
giraffe | four | leaves | grasslands | hum | mammal | calf
zebra | four | grass | grasslands | bark | mammal | foal
deer | four | leaves | forests | bellow | mammal | fawn
camel | four | grass | deserts | grunt | mammal | calf
monkey | two | fruit | jungles | chatter | mammal | infant
kangaroo | two | grass | grasslands | cough | mammal | joey
donkey | four | grass | farms | bray | mammal | foal
hen | two | seeds | farms | cluck | bird | chick
duck | two | plants | ponds | quack | bird | duckling
goose | two | grass | lakes | honk | bird | gosling
owl | two | mice | forests | hoot | bird | owlet
eagle | two | fish | mountains | screech | bird | eaglet
crow | two | seeds | fields | caw | bird | chick
penguin | two | fish | coasts | squawk | bird | chick
pigeon | two | seeds | cities | coo | bird | squab
frog | four | insects | ponds | croak | amphibian | tadpole
snake | zero | mice | deserts | hiss | reptile | snakelet
turtle | four | plants | lakes | hiss | reptile | hatchling
crocodile | four | meat | rivers | bellow | reptile | hatchling
shark | zero | fish | oceans | - | fish | pup
salmon | zero | insects | rivers | - | fish | fry
whale | zero | krill | oceans | song | mammal | calf
dolphin | zero | fish | oceans | click | mammal | calf
bee | six | nectar | hives | buzz | insect | larva
ant | six | seeds | nests | - | insect | larva
butterfly | six | nectar | gardens | - | insect | caterpillar
spider | eight | insects | webs | - | arachnid | spiderling
""")

COLOURS: Final = _rows("""
the sky | blue
grass | green
snow | white
coal | black
a banana | yellow
a lemon | yellow
a tomato | red
a strawberry | red
blood | red
a carrot | orange
a pumpkin | orange
an eggplant | purple
chocolate | brown
milk | white
a leaf | green
the sea | blue
a flamingo | pink
a crow | black
a pea | green
a cherry | red
salt | white
an elephant | grey
a sunflower | yellow
a cucumber | green
""")

OPPOSITES: Final = _rows("""
hot | cold
big | small
fast | slow
up | down
left | right
day | night
light | dark
happy | sad
old | young
rich | poor
hard | soft
wet | dry
full | empty
open | closed
high | low
near | far
strong | weak
early | late
loud | quiet
clean | dirty
thick | thin
true | false
win | lose
start | finish
push | pull
love | hate
buy | sell
give | take
laugh | cry
in | out
above | below
first | last
safe | dangerous
cheap | expensive
brave | afraid
sweet | bitter
wide | narrow
deep | shallow
easy | difficult
""")

# element | symbol | atomic number
ELEMENTS: Final = _rows("""
hydrogen | H | 1
helium | He | 2
lithium | Li | 3
carbon | C | 6
nitrogen | N | 7
oxygen | O | 8
fluorine | F | 9
neon | Ne | 10
sodium | Na | 11
magnesium | Mg | 12
aluminium | Al | 13
silicon | Si | 14
phosphorus | P | 15
sulfur | S | 16
chlorine | Cl | 17
potassium | K | 19
calcium | Ca | 20
iron | Fe | 26
copper | Cu | 29
zinc | Zn | 30
silver | Ag | 47
tin | Sn | 50
gold | Au | 79
mercury | Hg | 80
lead | Pb | 82
""")

PLANETS: Final = ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune")
ORDINALS: Final = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth",
)  # fmt: skip
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip

INVENTIONS: Final = _rows("""
the telephone | Alexander Graham Bell
the light bulb | Thomas Edison
the printing press | Johannes Gutenberg
the airplane | the Wright brothers
the radio | Guglielmo Marconi
dynamite | Alfred Nobel
the World Wide Web | Tim Berners-Lee
the battery | Alessandro Volta
the steam locomotive | Richard Trevithick
the diesel engine | Rudolf Diesel
the lightning rod | Benjamin Franklin
the pendulum clock | Christiaan Huygens
the mercury thermometer | Daniel Fahrenheit
the braille alphabet | Louis Braille
the elevator brake | Elisha Otis
""")

BOOKS: Final = _rows("""
Hamlet | William Shakespeare
Don Quixote | Miguel de Cervantes
War and Peace | Leo Tolstoy
Oliver Twist | Charles Dickens
Emma | Jane Austen
Moby Dick | Herman Melville
The Odyssey | Homer
Faust | Johann Wolfgang von Goethe
Frankenstein | Mary Shelley
Dracula | Bram Stoker
Ulysses | James Joyce
The Hobbit | J. R. R. Tolkien
Pinocchio | Carlo Collodi
Les Miserables | Victor Hugo
The Time Machine | H. G. Wells
Treasure Island | Robert Louis Stevenson
Crime and Punishment | Fyodor Dostoevsky
The Little Prince | Antoine de Saint-Exupery
The Jungle Book | Rudyard Kipling
Peter Pan | J. M. Barrie
""")

# English | Spanish | French | German
WORDS: Final = _rows("""
dog | perro | chien | Hund
cat | gato | chat | Katze
house | casa | maison | Haus
water | agua | eau | Wasser
bread | pan | pain | Brot
book | libro | livre | Buch
sun | sol | soleil | Sonne
moon | luna | lune | Mond
milk | leche | lait | Milch
apple | manzana | pomme | Apfel
tree | arbol | arbre | Baum
friend | amigo | ami | Freund
red | rojo | rouge | rot
green | verde | vert | gruen
thank you | gracias | merci | danke
hello | hola | bonjour | hallo
""")

NUMBERS: Final = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip

SPELLING_WORDS: Final = words("""
    apple bread chair dance earth flame grape house juice knife lemon money night ocean piano queen river stone table
    under voice water young zebra cat dog sun tree milk book fish bird star moon rain snow king ring ship shoe door hand
    city blue green black white brown happy music garden window summer winter yellow orange silver planet
""")

NAMES: Final = words("""
    Ada Adam Alice Amir Amy Anna Anton Ben Bella Bruno Carla Carlos Clara Cora Dan Dana David Diego Ella Elena Emil
    Emma Eva Farah Felix Fiona Finn Frank Grace George Hana Hannah Hugo Ida Ines Iris Ivan Jack James Jane Jonas Julia
    Kai Karl Kate Lara Laura Leo Lena Liam Lily Lina Lucas Lucy Luis Maja Marco Maria Mark Marta Max Mia Mila Milo Nadia
    Nina Noah Nora Olga Oliver Omar Oscar Paul Pedro Petra Pia Priya Ravi Rita Robin Rosa Ruth Sam Sara Sofia Tara Theo
    Tim Tina Tom Uma Vera Victor Yara Yuki Zoe
""")
