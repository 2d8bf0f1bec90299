"""Ordinary files of each program in three languages: no question, no rejected row, and the values
that a person sees there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.dialogues.bot_home import BotHome
from tests.dialogues.imports import PacedNocoDB, importer

pytestmark = pytest.mark.slow
FIELDS = ("Name", "Email", "Status", "Tags", "Value", "Active", "Since", "Seen", "Notes")
ENGLISH = "Name,Email,Status,Tags,Value,Active,Since,Seen,Notes"
PORTUGUESE = "Nome;Email;Estado;Etiquetas;Valor;Ativo;Desde;Visto;Notas"
FRENCH = "Nom;Courriel;Statut;Mots;Valeur;Actif;Depuis;Vu;Notes"
ADA: Mapping[str, Any] = {
    "Name": "João, o 1º",
    "Email": "a@example.com",
    "Status": "Active",
    "Tags": ["vip", "new"],
    "Value": 1234.5,
    "Active": True,
    "Since": "2026-12-31",
    "Seen": "2026-12-31 14:30:00+00:00",
    "Notes": 'He said "hi"\n+55 11',
}


@pytest.fixture
async def nocodb() -> AsyncIterator[PacedNocoDB]:
    async with PacedNocoDB() as server:
        yield server


def sheet(head: str, *rows: str, encoding: str = "utf-8", end: str = "\r\n") -> bytes:
    return end.join([head, *rows, ""]).encode(encoding)


FILES = {
    "Excel in English": sheet(
        ENGLISH,
        '"João, o 1º",a@example.com,Active,"vip,new"," $1,234.50 ",TRUE,12/31/2026,'
        '12/31/2026 14:30,"He said ""hi""\n+55 11"',
        "Bob,,Lead,,$5.00,FALSE,1/2/2026,1/2/2026 9:05,",
        encoding="utf-8-sig",
    ),
    "Excel in Portuguese": sheet(
        PORTUGUESE,
        '"João, o 1º";a@example.com;Active;vip,new; R$ 1.234,50 ;VERDADEIRO;31/12/2026;'
        '31/12/2026 14:30;"He said ""hi""\n+55 11"',
        "Bob;;Lead;; R$ 5,00 ;FALSO;02/01/2026;02/01/2026 09:05;",
        encoding="cp1252",
    ),
    "Excel in French": sheet(
        FRENCH,
        '"João, o 1º";a@example.com;Active;vip,new;1 234,50 €;VRAI;31/12/2026;'
        '31/12/2026 14:30;"He said ""hi""\n+55 11"',
        "Bob;;Lead;;5,00 €;FAUX;02/01/2026;02/01/2026 09:05;",
        encoding="cp1252",
    ),
    "LibreOffice in English": sheet(
        ENGLISH,
        '"João, o 1º",a@example.com,Active,"vip,new",1234.5,TRUE,12/31/26,'
        '12/31/26 02:30 PM,"He said ""hi""\n+55 11"',
        "Bob,,Lead,,5,FALSE,01/02/26,01/02/26 09:05 AM,",
        end="\n",
    ),
    "LibreOffice in Portuguese": sheet(
        PORTUGUESE,
        '"João, o 1º";a@example.com;Active;vip,new;1234,5;VERDADEIRO;31/12/26;'
        '31/12/26 14:30;"He said ""hi""\n+55 11"',
        "Bob;;Lead;;5;FALSO;02/01/26;02/01/26 09:05;",
        "Eva;;Lead;;5;FALSO;03/01/26;03/01/26 09:05;",
        end="\n",
    ),
    "LibreOffice in French": sheet(
        FRENCH,
        '"João, o 1º";a@example.com;Active;vip,new;1234,5;VRAI;31/12/26;'
        '31/12/26 14:30;"He said ""hi""\n+55 11"',
        "Bob;;Lead;;5;FAUX;02/01/26;02/01/26 09:05;",
        "Eva;;Lead;;5;FAUX;03/01/26;03/01/26 09:05;",
        end="\n",
    ),
    "Google in English": sheet(
        ENGLISH,
        '"João, o 1º",a@example.com,Active,"vip, new","$1,234.50",TRUE,12/31/2026,'
        '12/31/2026 14:30:00,"He said ""hi""\n+55 11"',
        "Bob,,Lead,,$5.00,FALSE,1/2/2026,1/2/2026 9:05:00,",
    ),
    "Google in Portuguese": sheet(
        PORTUGUESE.replace(";", ","),
        '"João, o 1º",a@example.com,Active,"vip, new","R$ 1.234,50",TRUE,31/12/2026,'
        '31/12/2026 14:30:00,"He said ""hi""\n+55 11"',
        'Bob,,Lead,,"R$ 5,00",FALSE,02/01/2026,02/01/2026 09:05:00,',
    ),
    "Google in French": sheet(
        FRENCH.replace(";", "\t"),
        '"João, o 1º"\ta@example.com\tActive\tvip, new\t1\u202f234,50\u00a0€\tTRUE\t31/12/2026\t'
        '31/12/2026 14:30:00\t"He said ""hi""\n+55 11"',
        "Bob\t\tLead\t\t5,00\u00a0€\tFALSE\t02/01/2026\t02/01/2026 09:05:00\t",
    ),
    "Airtable": sheet(
        ENGLISH,
        '"João, o 1º",a@example.com,Active,"vip,new",$1234.50,checked,12/31/2026,'
        '12/31/2026 2:30pm,"He said ""hi""\n+55 11"',
        "Bob,,Lead,,$5.00,,1/2/2026,1/2/2026 9:05am,",
        encoding="utf-8-sig",
        end="\n",
    ),
    "Airtable in European form": sheet(
        ENGLISH,
        '"João, o 1º",a@example.com,Active,"vip,new",1234.50,checked,31/12/2026,'
        '31/12/2026 14:30,"He said ""hi""\n+55 11"',
        "Bob,,Lead,,5.00,,2/1/2026,2/1/2026 09:05,",
        encoding="utf-8-sig",
        end="\n",
    ),
    "NocoDB": sheet(
        "Id," + ENGLISH,
        '1,"João, o 1º",a@example.com,Active,"vip,new",1234.5,true,2026-12-31,'
        '2026-12-31 14:30,"He said ""hi""\n+55 11"',
        "2,Bob,,Lead,,5,false,2026-01-02,2026-01-02 09:05,",
    ),
    "Salesforce": sheet(
        '"' + ENGLISH.replace(",", '","') + '"',
        '"João, o 1º","a@example.com","Active","vip;new","1234.50","1","2026-12-31",'
        '"2026-12-31T14:30:00.000Z","He said ""hi""\n+55 11"',
        '"Bob","","Lead","","5.00","0","2026-01-02","2026-01-02T09:05:00.000Z",""',
        end="\n",
    ),
    "pandas": sheet(
        "," + ENGLISH,
        '0,"João, o 1º",a@example.com,Active,"vip,new",1234.5,True,2026-12-31,'
        '2026-12-31 14:30:00,"He said ""hi""\n+55 11"',
        "1,Bob,,Lead,,5.0,False,2026-01-02,2026-01-02 09:05:00,",
        end="\n",
    ),
    "MySQL": sheet(
        '"' + ENGLISH.replace(",", '","') + '"',
        '"João, o 1º","a@example.com","Active","vip,new","1234.50","1","2026-12-31",'
        '"2026-12-31 14:30:00","He said \\"hi\\"\n+55 11"',
        '"Bob","","Lead","","5.00","0","2026-01-02","2026-01-02 09:05:00",""',
        end="\n",
    ),
    "a report of Salesforce named .xls": (
        "<table><tr>"
        + "".join(f"<th>{title}</th>" for title in FIELDS)
        + "</tr><tr><td>João, o 1º</td><td>a@example.com</td><td>Active</td><td>vip; new</td>"
        "<td>$1,234.50</td><td>1</td><td>12/31/2026</td><td>12/31/2026 2:30 PM</td>"
        "<td>He said &quot;hi&quot;<br>+55 11</td></tr><tr><td>Bob</td><td></td><td>Lead</td>"
        "<td></td><td>$5.00</td><td>0</td><td>1/2/2026</td><td>1/2/2026 9:05 AM</td><td></td></tr>"
        "</table>"
    ).encode(),
}  # fmt: skip


@pytest.mark.parametrize("program", FILES)
async def test_an_ordinary_file(bot_home: BotHome, nocodb: PacedNocoDB, program: str) -> None:
    data = FILES[program]
    heads = (PORTUGUESE, FRENCH, ENGLISH.replace(",", ";"))
    text = data.decode("cp1252", "replace")
    head = next((head for head in heads if head.split(";")[4] in text), heads[2])
    columns = dict(zip(FIELDS, head.split(";"), strict=True))
    async with importer(bot_home, nocodb.origin) as here:
        answer = await here.send_file("a.csv", data, columns)
        assert answer.cards, answer.text
        (card,) = answer.cards
        assert "rejected" not in card.text
        rows = [step.write.after for step in (await here.get(card.id)).steps]
        assert rows[0] == ADA
        assert (rows[1] or {})["Name"] == "Bob"
        assert (rows[1] or {})["Value"] == 5
        assert (rows[1] or {})["Since"] == "2026-01-02"


BANKS = {
    "Germany": (
        b'"Konto:";"Giro DE12"\n"Von:";"01.01.2026"\n"Bis:";"31.01.2026"\n"Saldo:";"1.234,50"\n\n'
        b'"Tag";"Wert";"Art";"Text";"Von";"An";"IBAN";"Betrag"\n'
        b'"05.01.2026";"";"";"Miete";"";"";"";"-1.250,00"\n"06.01.2026";"";"";"Gas";"";"";"";"-2,50"\n',
        {"Name": "Text", "Since": "Tag", "Value": "Betrag"},
        ("Miete", "2026-01-05", -1250),
    ),
    "Brazil": (
        "Extrato de conta corrente\nAgência: 0001; Conta: 12345-6\n\n"
        "Data;Lançamento;Valor (R$);Saldo (R$)\n15/01/2026;Aluguel;-1.250,00;3.000,00\n"
        "16/01/2026;Gás;-2,50;2.997,50\n".encode("cp1252"),
        {"Name": "Lançamento", "Since": "Data", "Value": "Valor (R$)"},
        ("Aluguel", "2026-01-15", -1250),
    ),
    "France": (
        "Compte chèque;FR76 3000;Solde au 31/01/2026;1 234,50\n\n"
        "Date;Libellé;Débit;Crédit\n15/01/2026;Loyer;-1250,00;\n16/01/2026;Gaz;-2,50;\n".encode(),
        {"Name": "Libellé", "Since": "Date", "Value": "Débit"},
        ("Loyer", "2026-01-15", -1250),
    ),
    "the United States": (
        b'Account Name : Checking\nAccount Number : 1234\nDate Range : 01/01/2026-01/31/2026\n\n'
        b'Transaction Date,Description,Amount,Balance\n01/15/2026,"Rent, May",-1250.00,"3,000.00"\n'
        b"01/16/2026,Gas,-2.50,2997.50\n",
        {"Name": "Description", "Since": "Transaction Date", "Value": "Amount"},
        ("Rent, May", "2026-01-15", -1250),
    ),
}  # fmt: skip


@pytest.mark.parametrize("bank", BANKS)
async def test_a_bank(bot_home: BotHome, nocodb: PacedNocoDB, bank: str) -> None:
    data, columns, first = BANKS[bank]
    async with importer(bot_home, nocodb.origin) as here:
        answer = await here.send_file("a.csv", data, columns)
        assert answer.cards, answer.text
        (card,) = answer.cards
        assert "rejected" not in card.text
        row = (await here.get(card.id)).steps[0].write.after or {}
        assert (row["Name"], row["Since"], row["Value"]) == first
