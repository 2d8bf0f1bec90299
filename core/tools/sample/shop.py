"""The tables and the first rows of the sample base: a shop that sells stationery and home goods.

All people, addresses and sales are invented. The same day always gives the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from core.base.text import fold_to_letters
from core.tools.nocodb.api import Json
from core.tools.sample.base import Content, NewRow, SampleTable

BASE_TITLE = "Sample shop"
_ORDER_COUNT = 96
_DAYS_BETWEEN_ORDERS = 1.5
_INVOICE_DAYS = 30
"""Days from the issue of an invoice until it is due."""

_PEOPLE = (
    ("Ana Souza", "São Paulo"),
    ("Camille Laurent", "Lyon"),
    ("Bruno Carvalho", "Recife"),
    ("Hugo Bernard", "Nantes"),
    ("Chloé Moreau", "Bordeaux"),
    ("Davi Oliveira", "Curitiba"),
    ("Élodie Petit", "Lille"),
    ("Fernanda Lima", "Salvador"),
    ("Gabriel Rocha", "Belo Horizonte"),
    ("Inès Dubois", "Paris"),
    ("João Pereira", "Porto Alegre"),
    ("Julien Garnier", "Toulouse"),
    ("Larissa Mendes", "Florianópolis"),
    ("Léa Fontaine", "Strasbourg"),
    ("Marcos Ribeiro", "Manaus"),
    ("Manon Chevalier", "Rennes"),
    ("Natália Castro", "Brasília"),
    ("Nicolas Roux", "Grenoble"),
    ("Otávio Barbosa", "Fortaleza"),
    ("Pauline Girard", "Dijon"),
    ("Rafaela Nunes", "Rio de Janeiro"),
    ("Romain Lefèvre", "Marseille"),
    ("Sofia Azevedo", "Goiânia"),
    ("Théo Marchand", "Angers"),
    ("Thiago Martins", "Belém"),
    ("Valérie Simon", "Nice"),
    ("Vitória Teixeira", "Campinas"),
    ("Yasmine Colin", "Montpellier"),
)
_FRENCH_CITIES = frozenset({
    "Lyon", "Nantes", "Bordeaux", "Lille", "Paris", "Toulouse", "Strasbourg", "Rennes", "Grenoble",
    "Dijon", "Marseille", "Angers", "Nice", "Montpellier",
})  # fmt: skip
_PRODUCTS = (
    ("Notebook A5", "Stationery", 8.9, 140), ("Fountain pen", "Stationery", 34.5, 42),
    ("Desk planner", "Stationery", 16.0, 65), ("Washi tape set", "Stationery", 7.2, 210),
    ("Coffee mug", "Kitchen", 12.5, 88), ("Tea pot", "Kitchen", 39.0, 24),
    ("Linen apron", "Kitchen", 27.8, 31), ("Cutting board", "Kitchen", 22.4, 47),
    ("Desk lamp", "Home", 54.9, 19), ("Wool blanket", "Home", 69.0, 12),
    ("Wall clock", "Home", 45.0, 0), ("Scented candle", "Home", 14.9, 120),
    ("Plant pot", "Garden", 18.6, 73), ("Watering can", "Garden", 25.3, 28),
    ("Seed box", "Garden", 9.5, 96), ("Garden gloves", "Garden", 11.8, 0),
)  # fmt: skip
_NOTES = ("", "", "prefers morning deliveries", "", "orders for a school", "")


def _field(id: str, title: str, type: str, **options: Any) -> Json:
    return {"id": id, "title": title, "type": type, **({"options": options} if options else {})}


def _select(id: str, title: str, *choices: str) -> Json:
    return _field(id, title, "SingleSelect", choices=[{"title": choice} for choice in choices])


def _link_to_one(id: str, title: str, table: str) -> Json:
    return _field(id, title, "LinkToAnotherRecord", related_table_id=table, relation_type="bt")


def _link_to_many(id: str, title: str, table: str, inverse: str) -> Json:
    return _field(
        id, title, "Links", related_table_id=table, relation_type="hm", inverse_field_id=inverse
    )


SHOP_TABLES: Sequence[SampleTable] = (
    SampleTable("mcustomers", "Customers", (
        _field("c_customer_id", "Id", "ID"),
        _field("c_customer_name", "Name", "SingleLineText"),
        _field("c_customer_email", "Email", "Email"),
        _field("c_customer_city", "City", "SingleLineText"),
        _select("c_customer_country", "Country", "Brazil", "France"),
        _select("c_customer_status", "Status", "Lead", "Active", "Inactive"),
        _field("c_customer_newsletter", "Newsletter", "Checkbox"),
        _field("c_customer_since", "Since", "Date"),
        _field("c_customer_notes", "Notes", "LongText"),
        _link_to_many("c_customer_orders", "Orders", "morders", "c_order_customer"),
        _link_to_many("c_customer_invoices", "Invoices", "minvoices", "c_invoice_customer"),
    )),
    SampleTable("mproducts", "Products", (
        _field("c_product_id", "Id", "ID"),
        _field("c_product_name", "Name", "SingleLineText"),
        _select("c_product_category", "Category", "Stationery", "Kitchen", "Home", "Garden"),
        _field("c_product_price", "Price", "Currency", currency_code="EUR"),
        _field("c_product_stock", "Stock", "Number"),
        _field("c_product_active", "Active", "Checkbox"),
        _link_to_many("c_product_lines", "Order lines", "mlines", "c_line_product"),
    )),
    SampleTable("morders", "Orders", (
        _field("c_order_id", "Id", "ID"),
        _field("c_order_number", "Number", "SingleLineText"),
        _link_to_one("c_order_customer", "Customer", "mcustomers"),
        _field("c_order_placed", "Placed", "DateTime"),
        _select("c_order_status", "Status", "New", "Packed", "Shipped", "Delivered", "Cancelled"),
        _field("c_order_delivery", "Delivery", "Date"),
        _field("c_order_gift", "Gift", "Checkbox"),
        _field("c_order_country", "Country", "Lookup", related_field_id="c_order_customer",
               related_table_lookup_field_id="c_customer_country"),
        _link_to_many("c_order_lines", "Order lines", "mlines", "c_line_order"),
        _field("c_order_total", "Total", "Rollup", related_field_id="c_order_lines",
               related_table_rollup_field_id="c_line_amount", rollup_function="sum"),
        _link_to_many("c_order_invoices", "Invoices", "minvoices", "c_invoice_order"),
    )),
    SampleTable("mlines", "Order lines", (
        _field("c_line_id", "Id", "ID"),
        _field("c_line_line", "Line", "SingleLineText"),
        _link_to_one("c_line_order", "Order", "morders"),
        _link_to_one("c_line_product", "Product", "mproducts"),
        _field("c_line_quantity", "Quantity", "Number"),
        _field("c_line_amount", "Amount", "Currency", currency_code="EUR"),
    )),
    SampleTable("minvoices", "Invoices", (
        _field("c_invoice_id", "Id", "ID"),
        _field("c_invoice_number", "Number", "SingleLineText"),
        _link_to_one("c_invoice_customer", "Customer", "mcustomers"),
        _link_to_one("c_invoice_order", "Order", "morders"),
        _field("c_invoice_amount", "Amount", "Currency", currency_code="EUR"),
        _select("c_invoice_status", "Status", "Open", "Paid", "Overdue", "Cancelled"),
        _field("c_invoice_issued", "Issued", "Date"),
        _field("c_invoice_due", "Due", "Date"),
        _field("c_invoice_paid", "Paid on", "Date"),
    )),
)  # fmt: skip


def make_shop(zone: str, now: datetime | None = None) -> Content:
    """Return the rows of all tables. Their dates count back from `now`, in that time zone.

    The rows vary by remainders of their numbers (`number * 5 % 3`) and not by chance, because the
    same day must give the same rows. The factors have no meaning. A link is the other row's id,
    which counts from 1.
    """
    now = (now or datetime.now(UTC)).astimezone(ZoneInfo(zone))
    orders: list[NewRow] = []
    lines: list[NewRow] = []
    invoices: list[NewRow] = []
    for number in range(1, _ORDER_COUNT + 1):
        order = _make_order(number, now)
        orders.append(order)
        amount = 0.0
        for place in range(1 + number * 5 % 3):
            product = (number * 3 + place * 5) % len(_PRODUCTS) + 1
            name, _, price, _ = _PRODUCTS[product - 1]
            quantity = 1 + (number + place * 2) % 4
            line: dict[str, Any] = {
                "Line": f"{quantity} × {name}",
                "Order": number,
                "Product": product,
                "Quantity": quantity,
                "Amount": round(quantity * price, 2),
            }
            lines.append(NewRow(line, order.created_at))
            amount += line["Amount"]
        if order.cells["Status"] not in ("New", "Cancelled"):
            nth = len(invoices) + 1
            issued = order.created_at + timedelta(days=1)
            due = issued + timedelta(days=_INVOICE_DAYS)
            paid = issued + timedelta(days=5 + nth * 7 % 31)
            is_paid = paid < now and nth % 7 != 3
            status = "Paid" if is_paid else "Overdue" if due.date() < now.date() else "Open"
            invoice = {
                "Number": f"INV-{2000 + nth}",
                "Customer": order.cells["Customer"],
                "Order": number,
                "Amount": round(amount, 2),
                "Status": status,
                "Issued": issued.date().isoformat(),
                "Due": due.date().isoformat(),
                "Paid on": paid.date().isoformat() if is_paid else None,
            }
            invoices.append(NewRow(invoice, issued))
    customers = []
    for number, (name, city) in enumerate(_PEOPLE, 1):
        since = now - timedelta(days=number * 37 % 700 + 160)
        status = "Lead" if number % 5 == 4 else "Inactive" if number % 9 == 7 else "Active"
        cells = {
            "Name": name,
            "Email": fold_to_letters(name).replace(" ", ".") + "@example.com",
            "City": city,
            "Country": "France" if city in _FRENCH_CITIES else "Brazil",
            "Status": status,
            "Newsletter": number % 3 != 0,
            "Since": since.date().isoformat(),
            "Notes": _NOTES[number % len(_NOTES)] or None,
        }
        customers.append(NewRow(cells, since))
    products = [
        NewRow(
            {"Name": name, "Category": kind, "Price": price, "Stock": stock, "Active": stock > 0},
            now - timedelta(days=400 - 9 * number),
        )
        for number, (name, kind, price, stock) in enumerate(_PRODUCTS)
    ]
    return {
        "mcustomers": customers,
        "mproducts": products,
        "morders": orders,
        "mlines": lines,
        "minvoices": invoices,
    }


def _make_order(number: int, now: datetime) -> NewRow:
    """Return one order of the invented shop. All values follow from its number, so that each new
    base has the same orders, aged from `now`."""
    age = round((_ORDER_COUNT - number) * _DAYS_BETWEEN_ORDERS)
    clock = time(8 + number * 7 % 12, number * 13 % 60)
    # The newest order is from yesterday: today, its time of day may be still to come.
    placed = datetime.combine((now - timedelta(days=age + 1)).date(), clock, now.tzinfo)
    steps = (("New", 3), ("Packed", 6), ("Shipped", 12))
    status = next((name for name, days in steps if age < days), "Delivered")
    if number % 17 == 5:
        status = "Cancelled"
    # The customer's row, counted from 1. Some order more often than others, and leads never: each
    # fifth customer is one (4, 9, 14 …).
    customer = (number * 11 + number // 7 * 3) % len(_PEOPLE) + 1
    if customer % 5 == 4:
        customer = (customer + 1) % len(_PEOPLE) + 1
    cells = {
        "Number": f"O-{1000 + number}",
        "Customer": customer,
        "Placed": placed.astimezone(UTC).isoformat(" ", "seconds"),
        "Status": status,
        "Delivery": (placed + timedelta(days=9 + number % 4)).date().isoformat(),
        "Gift": number % 6 == 1,
    }
    return NewRow(cells, placed)
