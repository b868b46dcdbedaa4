"""German forms and letters with known people in them: wordings and names that strop's own finder never saw.

The wordings here stand in no file of the package, and the names, streets and towns in none of its lists
(tests/curate/test_curate_pii.py checks that). Common names are in those lists, so real letters are easier.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import NamedTuple

_FIRST = """
Almut Anneliese Auguste Bärbel Burga Cäcilia Dagmar Dorle Elfriede Ellinor Eveline Friedhelm Gesine Gunda
Hedda Hella Hermine Hiltrud Isolde Jolanda Kunigunde Ludmilla Magda Mechtild Notburga Ottilie Pauline
Roselinde Rotraud Selma Swantje Thekla Traudel Undine Walburga Wilma Adalbert Alwin Arnulf Balduin Bertram
Clemens Dankwart Degenhard Edgar Eberhard Falko Ferdinand Gernot Gisbert Gotthilf Gundolf Hanno Hartwig
Heribert Hubertus Ignaz Ingolf Jobst Kaspar Kilian Knud Kuno Leopold Levin Meinrad Neidhard Nepomuk Ottokar
Quirin Raimund Roland Ruprecht Severin Tassilo Tilo Traugott Udo Veit Vitus Waldemar Wendelin Wieland
Winfried Wunibald Asli Burak Çağla Ercan Gülsüm Hakan İlknur Orhan
"""
_LAST = """
Achterberg Altmeppen Backhaus Bartels Bedenbecker Birnstiel Bockelmann Brackwede Bröcker Buchholz
Clausnitzer Dahlke Dettmer Diekhoff Drechsler Eickhoff Engelbrecht Evers Falkenhagen Feuerstein Finkenzeller
Flemming Gansauge Gerstner Glockner Göpfert Grabowsky Grothe Hagedorn Harbeck Heckmann Hellwig Hempel
Hirschfeld Hohlfeld Holtkamp Ittner Jürgensmeier Kahlert Kempf Kirchhoff Kleinschmidt Knappstein Kottmann
Kreienbrock Kuhlmann Lamprecht Leinweber Liebermann Lobenstein Lüttgens Mahnke Marquardt Meinhold Mehlhorn
Morgenstern Mühlbauer Nachtigall Niehaus Nottebohm Oberländer Oelschläger Osterkamp Pankratz Pfennig Plötz
Quandt Rabenstein Rehbein Rickmers Rosenkranz Rübsam Sandmann Schimmelpfennig Schlüter Schnabel Schönfelder
Spangenberg Steinkühler Stratmann Süßmilch Tiedemann Trautwein Uhlemann Vahrenkamp Vollmer Wackernagel
Weidner Wessels Westerhold Wohlfahrt Zedler Zimmerling Zschocke Akgün Bozkurt Erdem Karaca Taşdemir
"""
_STREETS = """
Apfelwiese Bleicherweg Brombeerhag Dahlienstraße Eulengasse Färberstr. Fliederbusch Gerberstraße
Haselnussweg Holunderring Irisstraße Jasminweg Kapellenstr. Kornblumenweg Lavendelweg Mohnblumenallee
Nordstraße Ostpreußendamm Pappelallee Quellenstraße Rebhuhnweg Sanddornstr. Schlehenweg Taubengasse
Töpferstraße Ulmenallee Veilchenweg Wacholderweg Weberstraße Zeisigweg Ziegeleistraße Am_Sonnenhang
An_der_Kornmühle Auf_der_Heide Im_Winkel Zum_Kreuzstein Käthe-Paulus-Straße
"""
_TOWNS = """
Ahlen Bad_Aibling Buxtehude Coesfeld Deggendorf Eberswalde Emden Finsterwalde Gifhorn Husum Ibbenbüren
Itzehoe Kaufbeuren Kulmbach Lüdinghausen Meppen Neuruppin Oelde Pirna Quedlinburg Rottweil Soest Tuttlingen
Uelzen Vechta Wangen_im_Allgäu Xanten Zeitz
"""
FIRST, LAST, STREETS, TOWNS = (
    tuple(name.replace("_", " ") for name in names.split()) for names in (_FIRST, _LAST, _STREETS, _TOWNS)
)
FIRMS = (
    "Kranz & Söhne GmbH",
    "Wattwurm Logistik AG",
    "Möbelhaus Ostertor",
    "Tulpe Versand",
    "Stadtwerke Uelzen",
)

WORDINGS = (
    "Guten Abend,\nseit einer Woche warte ich auf die Lieferung {tracking}. Ich bitte um Nachricht.\n"
    "{person}\n{street}\n{town}",
    "Betreff: Widerruf der Bestellung {order}\n\nSehr geehrte Damen und Herren,\nhiermit widerrufe "
    "ich meinen Kaufvertrag.\nName des Verbrauchers: {person}\nAnschrift des Verbrauchers: {street}, "
    "{town}\n\n{person}",
    "Schadensmeldung\nVersicherungsnehmer: {person}\ngeboren am: {birthdate}\nwohnhaft: {street}, "
    "{town}\nTelefon: {phone}\nSchadennummer: {order}",
    "Werter Herr {last}, Ihr Schreiben vom {date} liegt uns vor. Frau {last} meldet sich unter {phone}.",
    "Sehr geehrte Familie {last}, Ihr Ablesetermin ist am {date}. Ihr Ableser heißt {person}.",
    "Ich möchte mich über den Zusteller beschweren: {first} {last} hat das Paket {tracking} einfach "
    "vor die Tür gestellt.",
    "Kontaktdaten\nVorname {first}\nFamilienname {last}\nStraße und Hausnummer {street}\nPLZ, Ort "
    "{town}\nMail {email}",
    "Bankverbindung für die Erstattung: {person}, IBAN {iban}. Betrag bitte bis {date}.",
    "Mein Vater ({person}) kann die Ware {sku} nicht mehr selbst abholen, das macht jetzt meine "
    "Cousine {first}.",
    "Weiterleiten an: {person} ({email}), Kopie an {person}.",
    "Protokoll vom {date}: Es sprachen {last}, {last} und {person}. Der Antrag {order} wurde vertagt.",
    "Sie haben mir die Rechnung {invoice} an die alte Adresse ({street}, {town}) geschickt. Bitte löschen.",
    "Nachsendeauftrag von {street}, {town} nach {street}, {town}, gültig ab {date}.",
    "Krankmeldung: {person}, SV-Nummer {pension}, fehlt seit {date}.",
    "Steuer-ID {taxid}, {person}, Steuerklasse 1.",
    "Danke für die nette Beratung! Herzlichst, Ihre {person}",
    "Bis bald, {first}",
    "MfG {last}",
    "Kannst du das übernehmen, {first}? Ich bin im Urlaub, {first} auch.",
    "{first} und ich haben gestern den Schrank {sku} aufgebaut, es fehlen Schrauben.",
    "War am Montag bei Ihnen im Laden und habe mit einem Herrn {last} gesprochen, der mir {amount} "
    "erlassen wollte.",
    "Hausverwaltung {firm}\nMieterin {person}\nWohnung {street}, 2. OG links, {town}",
    "Bewerbung als Disponent\n\n{person}\n{street}\n{town}\n{phone}\n{email}\n\nSehr geehrte Frau {last},",
    "Teilen Sie Frau Dr. {last} bitte mit, dass die Proben unter {tracking} unterwegs sind.",
    "Lieferung nur an {person} persönlich, nicht an Nachbarn in der {street}.",
    "Zahlungserinnerung an {firm}, z. Hd. {person}, offener Betrag {amount}, Beleg {invoice}.",
    "Meine Kreditkarte {card} wurde zweimal belastet, sagt meine Frau {first}.",
    "Reklamation {order}: Herr {person} rief um 14:30 Uhr an und will Ersatz für {sku}.",
    "Vollmacht\nHiermit bevollmächtige ich, {person}, Herrn {person}, meine Sendung {tracking} abzuholen.",
    "Unser Treffpunkt: {street} in {townname}, danach Essen bei {first}.",
    "Der Vertreter von {firm}, ein gewisser {last}, war sehr unhöflich.",
    "Ihr Ansprechpartner im Werk ist {person} (Durchwahl: Tel. {phone}).",
    "Die Stornierung der Bestellung {order} ist erfolgt. Die Gutschrift über {amount} folgt in den "
    "nächsten Tagen.",
    "Unsere Öffnungszeiten haben sich geändert. Samstags ist das Lager jetzt bis 16 Uhr besetzt.",
    "Die Sendung {tracking} hat das Verteilzentrum {townname} verlassen. Voraussichtliche "
    "Zustellung: {date}.",
    "Artikel {sku}, EAN {ean}, ist zurzeit nicht lieferbar. Alternativ bieten wir die Variante in Blau an.",
    "Bitte prüfen Sie Größe, Farbe und Menge, bevor Sie die Ware bestellen. Umtausch ist nur mit "
    "Kassenbon möglich.",
    "Die Garantie deckt Schäden am Motor, am Getriebe und an der Elektronik. Verschleiß ist ausgenommen.",
    "Vorgang {uuid}: Zoll hat die Palette freigegeben, Spedition {firm} holt sie am {date}.",
    "Im Herbst planen wir einen Umbau der Filiale {townname}. Der Parkplatz bleibt geöffnet.",
)  # fmt: skip
PERSONAL = {
    "person": "PERSON", "first": "PERSON", "last": "PERSON", "street": "ADDRESS", "town": "ADDRESS",
    "email": "EMAIL", "phone": "PHONE", "iban": "IBAN", "card": "CARD", "pension": "SSN", "taxid": "TAX_ID",
    "birthdate": "BIRTHDATE",
}  # fmt: skip
BUSINESS = ("tracking", "order", "invoice", "sku", "ean", "uuid")
_SLOT = re.compile(r"\{(\w+)\}")


class Labelled(NamedTuple):
    """A text, its template's number, and (start, end, kind) of what is in it; BUSINESS must survive."""

    text: str
    template: int
    spans: tuple[tuple[int, int, str], ...]


def texts(rounds: int, seed: int) -> Iterator[Labelled]:
    """Yield every wording `rounds` times, with other people each time."""
    rng = random.Random(seed)
    for _ in range(rounds):
        for number, wording in enumerate(WORDINGS):
            text, at = "", 0
            spans: list[tuple[int, int, str]] = []
            for m in _SLOT.finditer(wording):
                text += wording[at : m.start()]
                value = _value(m.group(1), rng)
                kind = PERSONAL.get(m.group(1)) or ("BUSINESS" if m.group(1) in BUSINESS else "")
                if kind:
                    spans.append((len(text), len(text) + len(value), kind))
                text += value
                at = m.end()
            yield Labelled(text + wording[at:], number, tuple(spans))


def _value(slot: str, rng: random.Random) -> str:
    n = rng.randrange
    first, last, town = rng.choice(FIRST), rng.choice(LAST), rng.choice(TOWNS)
    simple = {
        "first": first, "last": last, "person": f"{first} {last}", "townname": town,
        "town": f"{n(1000, 99999):05d} {town}",
        "firm": rng.choice(FIRMS),
        "street": f"{rng.choice(STREETS)} {n(1, 180)}{rng.choice(('', '', '', 'a', ' b'))}",
        "date": f"{n(1, 29):02d}.{n(1, 13):02d}.2026",
        "birthdate": f"{n(1, 29):02d}.{n(1, 13):02d}.{n(1940, 2005)}",
        "amount": f"{n(1, 900)},{n(10, 100)} €",
        "email": f"{first[0].lower()}.{re.sub('[^a-z]', '', last.lower())}@post.example",
    }  # fmt: skip
    if slot in simple:
        return simple[slot]
    if slot == "phone":
        return rng.choice(
            (
                f"0{n(30, 9999)} {n(10**5, 10**7)}",
                f"+49 {n(150, 180)} {n(10**6, 10**8)}",
                f"0{n(30, 9999)}/{n(10**4, 10**7)}",
            )
        )
    if slot == "iban":
        return _iban(f"{n(10**8):08d}{n(10**10):010d}")
    if slot == "card":
        return _with_check(f"4{n(10**14):014d}", _luhn)
    if slot == "ean":
        return _with_check(f"400{n(10**9):09d}", _gs1)
    if slot == "taxid":
        return _tax_id(rng)
    if slot == "pension":
        return _pension(rng)
    if slot == "tracking":
        return rng.choice(
            (
                f"0034{n(10**16):016d}",
                f"JJD{n(10**15):015d}",
                f"1Z{n(10**16):016d}",
                f"H{n(10**19):019d}",
                f"RR{n(10**9):09d}DE",
            )
        )
    if slot == "uuid":
        h = f"{n(16**32):032x}"
        return "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:]))
    return {
        "order": f"BE-{n(10**6):06d}",
        "invoice": f"RE-2026-{n(10**6):06d}",
        "sku": f"SKU-{n(10**4):04d}-{rng.choice('ABC')}",
    }[slot]


def _with_check(number: str, valid: object) -> str:
    assert callable(valid)
    return next(number + str(d) for d in range(10) if valid(number + str(d)))


def _luhn(number: str) -> bool:
    doubled = [int(c) * (2 if i % 2 else 1) for i, c in enumerate(reversed(number))]
    return sum(sum(divmod(d, 10)) for d in doubled) % 10 == 0


def _gs1(number: str) -> bool:
    return sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(reversed(number))) % 10 == 0


def _iban(account: str) -> str:
    check = 98 - int(account + "131400") % 97
    text = f"DE{check:02d}{account}"
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def _tax_id(rng: random.Random) -> str:
    """Ten digits of which one comes twice, and the check digit by ISO 7064, MOD 11,10."""
    chosen = rng.sample(range(1, 10), 9)
    chosen.insert(rng.randrange(1, 9), chosen[0])
    product = 10
    for digit in chosen:
        product = 2 * ((digit + product) % 10 or 10) % 11
    return "".join(map(str, chosen)) + str((11 - product) % 10)


def _pension(rng: random.Random) -> str:
    n = rng.randrange
    head = f"{n(2, 90):02d}{n(1, 29):02d}{n(1, 13):02d}{n(40, 99):02d}"
    letter, serial = n(1, 27), n(100)
    values = [int(c) for c in f"{head}{letter:02d}{serial:02d}"]
    weights = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)
    check = sum(sum(divmod(v * w, 10)) for v, w in zip(values, weights, strict=True)) % 10
    return f"{head[:2]} {head[2:]} {chr(64 + letter)} {serial:02d}{check}"
