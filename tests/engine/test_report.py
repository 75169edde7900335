# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a fleet: its page in Debian's Chromium, what a real balancer tells for it, and the playbook."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.report.hosts import told_of
from ansible_collections.katran.fleet.plugins.module_utils._model.report.page import report_of
from ansible_collections.katran.fleet.plugins.plugin_utils.report_page import About, rendered
from ansible_collections.katran.fleet.tests.engine.host import (
    FEATURES,
    MAPS,
    RESOURCES,
    SIZES,
    apply,
    count_writes,
    module,
    world,
)
from ansible_collections.katran.fleet.tests.engine.playbooks import run_playbook
from ansible_collections.katran.fleet.tests.engine.report_fleet import Result, balancer, fleet, troubled
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, ensure_balancer, run, sandbox

CHROMIUM = "/usr/bin/chromium"
EVIL = '</script><script>window.hurt = 1</script><img src="http://127.0.0.1:9/x" onerror="window.hurt = 2">&amp;\u202e'
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def page_of(results: dict[str, Result], **about: Any) -> str:
    return rendered(report_of([told_of(host, result) for host, result in results.items()]), About(1.7e9, **about))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium confines nothing for root, and says so.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Shown:
    """A page that is open, and what it said and asked for."""

    def __init__(self, browser: Browser, path: Path, width: int = 1280, scheme: Any = "light") -> None:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page: Page = context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def column(self, table: str, number: int) -> list[str]:
        """The texts of a column of a table that are shown."""
        rows = self.page.locator(f"{table} > tbody > tr:not(.more):visible")
        found: list[str] = rows.evaluate_all("(rows, number) => rows.map((row) => row.cells[number].innerText)", number)
        return found

    def close(self) -> None:
        self.page.context.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A fleet in trouble, and the largest that the report is for, of which every VIP has reals and weights of its own.

    What either takes is measured, in seconds of CPU: a machine that is busy makes no page larger.
    """
    folder = tmp_path_factory.mktemp("report")
    large = fleet(50, 512, 100, 4000)
    began = time.process_time()
    texts = {"large": page_of(large)}
    assert time.process_time() - began < 5
    assert len(texts["large"].encode()) < 500_000
    texts["troubled"] = page_of(troubled(fleet(5, 12, 8, 20)), revision="3b1f0c2a9e77", unasked=["lb6", "lb7", "lb8"])
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.fixture
def shown(browser: Browser, pages: dict[str, Path]) -> Iterator[Shown]:
    """The fleet in trouble."""
    found = Shown(browser, pages["troubled"])
    yield found
    assert found.said == []
    assert found.asked == [found.url]
    found.close()


def test_what_matters_comes_first(shown: Shown) -> None:
    page = shown.page
    assert [each.split(" ")[0] for each in page.locator("main h2").all_inner_texts()] == [
        "What", "Health", "VIPs", "Reals", "Dropped", "Flow", "Programs", "Recent",
    ]  # fmt: skip
    assert page.locator("#differences h3").all_inner_texts() == [
        "Ring of 198.51.0.0:443/tcp",
        "State of 12 VIPs: 198.51.0.0:443/tcp, 198.51.0.1:443/tcp, 198.51.0.2:443/tcp and 9 more",
        "Drained",
        "Agent",
        "Reals by hand",
        "Kernel",
    ]
    assert "lb3" in page.locator("#differences li").nth(0).locator("dt").nth(1).inner_text()
    assert page.locator("#health .list h3").all_inner_texts() == [
        "error no answer",
        "error agent down",
        "warning flow table full lru_mapping",
    ]
    assert "No route to host" in page.locator("#health .list li").nth(0).inner_text()
    assert "Not asked, as by --limit: lb6–lb8." in page.locator("#differences").inner_text()
    assert page.locator(".tiles dd").all_inner_texts() == ["4 of 5", "6", "2", "1", "0 of 12", "2 of 20"]


def test_by_keyboard_alone(shown: Shown) -> None:
    page = shown.page
    # Every button and link can be come to, and shows that it is there.
    reached: list[str] = []
    while len(reached) < 200:
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "[document.activeElement.tagName + ' ' + document.activeElement.innerText.trim(),"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        if name.startswith("BODY"):
            break
        assert outline != "none", name
        reached.append(name)
    assert reached[0] == "A Skip to the report"
    assert {"BUTTON Theme: system", "BUTTON VIP", "BUTTON 198.51.0.11:443/tcp", "BUTTON Flows"} <= set(reached)
    assert reached.count("BUTTON Why") == 2
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"

    packets = page.locator("#vip-table thead button", has_text="Packets")
    packets.focus()
    page.keyboard.press("Enter")
    assert packets.locator("..").get_attribute("aria-sort") == "descending"
    values = [int(each.replace(",", "")) for each in shown.column("#vip-table", 7)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 1
    page.keyboard.press("Space")
    assert packets.locator("..").get_attribute("aria-sort") == "ascending"
    assert [int(each.replace(",", "")) for each in shown.column("#vip-table", 7)] == sorted(values)
    page.locator("#vip-table thead button", has_text="VIP").first.press("Enter")
    assert page.locator("#vip-table [aria-sort]").count() == 1
    assert shown.column("#vip-table", 0) == [f"198.51.0.{number}:443/tcp" for number in range(12)]

    page.keyboard.press("/")
    page.keyboard.type("lb2 jane")
    assert page.locator("#differences li:visible h3").all_inner_texts() == ["Drained"]
    assert page.get_by_role("status").inner_text().endswith("entries have it")
    page.keyboard.press("Escape")
    assert page.locator("#differences li:visible").count() == 6
    assert page.get_by_role("status").inner_text() == ""


def test_the_reals_of_a_vip(shown: Shown) -> None:
    """What the script unpacks is what the balancers told."""
    told = [each for host, each in fleet(5, 12, 8, 20).items() if host != "lb5"]
    vip = [each["facts"]["vips"][3] for each in told]
    flows = [sum(column) for column in zip(*(map(int, each["flows"].split()) for each in vip), strict=True)]
    facts = told[0]["facts"]
    pool = facts["pools"][vip[0]["pool"]]
    names = [facts["reals"][int(place)] for place in pool["reals"].split()]
    slots = [int(each) for each in pool["slots"].split()]
    button = shown.page.locator("#vip-table .open").nth(3)
    button.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    rows = {cells[0]: cells[1:] for cells in (row.split("\t") for row in _rows(shown.page))}
    assert {real: cells[3] for real, cells in rows.items()} == {
        real: f"{count:,}" for real, count in zip(names, flows, strict=True)
    }
    for real, slot, count in zip(names, slots, flows, strict=True):
        expected, seen = float(rows[real][0].split()[0]), float(rows[real][1].split()[0])
        assert expected == pytest.approx(slot / 655.37, abs=0.06)
        assert seen == pytest.approx(count * 100 / sum(flows), abs=0.06)
    button.press("Enter")
    assert shown.page.locator("tr.more").count() == 0


def _rows(page: Page) -> list[str]:
    found: list[str] = page.locator("tr.more tbody tr").evaluate_all(
        "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.innerText.trim()).join('\\t'))"
    )
    return found


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_everybody_can_read_it(browser: Browser, pages: dict[str, Path], width: int, scheme: str) -> None:
    """Contrast, names, roles and order by axe's rules for WCAG 2.2 AA; nothing is wider than the window."""
    found = Shown(browser, pages["troubled"], width, scheme)
    found.page.locator("#vip-table .open").first.click()
    answer = Axe().run(found.page, options=AXE)
    assert answer.response["passes"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in answer.response["violations"]] == []
    assert found.page.evaluate("document.documentElement.scrollWidth") == width
    dark = found.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    # The other one, by its button.
    theme = found.page.locator("#theme")
    while theme.inner_text() != f"Theme: {'light' if dark else 'dark'}":
        theme.click()
    assert (found.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)") != dark
    answer = Axe().run(found.page, options={"runOnly": ["color-contrast"]})
    assert [each["nodes"][0]["html"] for each in answer.response["violations"]] == []
    assert found.said == []
    found.close()


def test_print(shown: Shown) -> None:
    """On paper it is light, without what nobody can press, and all of it is there."""
    page = shown.page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert not page.locator("#find").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.wrap')).overflowX") == "visible"
    assert page.locator("#changes tbody tr").last.is_visible()
    paper = page.pdf(prefer_css_page_size=True)
    assert paper.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 12


def test_without_scripts_it_is_all_there_but_the_shares(browser: Browser, pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["troubled"].as_uri())
    assert not page.locator("#find").is_visible()
    assert page.get_by_role("rowheader", name="198.51.0.11:443/tcp").is_visible()
    assert page.get_by_text("take scripts, which this viewer does not run").is_visible()
    context.close()


def test_the_largest_fleet(browser: Browser, pages: dict[str, Path]) -> None:
    found = Shown(browser, pages["large"])
    page = found.page
    assert page.locator("#vip-table > tbody > tr").count() == 512
    assert page.locator("#vip-table svg").count() == 512
    assert page.get_by_text("Nothing: 50 balancers are alike.").is_visible()
    real = balancer(1, 512, 100, 4000)["facts"]["reals"][1234]
    page.locator("#find").fill(real)
    has = balancer(1, 512, 100, 4000)["facts"]
    pools = [number for number, pool in enumerate(has["pools"]) if "1234" in pool["reals"].split()]
    assert 0 < len(pools) < 40
    wanted = [vip["vip"] for vip in has["vips"] if vip["pool"] in pools]
    near = [vip["vip"] for vip in has["vips"] if _has_beginning(has, vip, real)]
    assert found.column("#vip-table", 0) == near
    assert set(wanted) <= set(near)
    assert found.said == []
    assert found.asked == [found.url]
    found.close()


def _has_beginning(facts: dict[str, Any], vip: dict[str, Any], real: str) -> bool:
    """Whether a VIP has a real whose address has this in it."""
    places = facts["pools"][vip["pool"]]["reals"].split()
    return any(real in facts["reals"][int(place)] for place in places)


def test_what_hosts_tell_is_text_wherever_it_stands(browser: Browser, tmp_path: Path) -> None:
    """Every text of every host is an attempt; the page has it as text, asks for nothing and runs nothing."""

    def spoilt(value: Any, key: str = "") -> Any:
        # What is reckoned with stays: rows of numbers, digests of VIPs, and words that decide something.
        if isinstance(value, dict):
            return {name: spoilt(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [spoilt(each, key) for each in value]
        kept = ("flows", "slots", "real_flows", "real_packets", "kind", "installed", "by")
        return f"{value}{EVIL}" if isinstance(value, str) and key not in kept else value

    results = troubled(fleet(5, 3, 4, 6))
    for host, result in results.items():
        if "facts" in result:
            pools = result["facts"]["pools"]
            results[host] = {"facts": {**spoilt(result["facts"]), "pools": pools}}
        else:
            results[host] = spoilt(result)
    path = tmp_path / "evil.html"
    text = page_of({f"{host}{EVIL}": each for host, each in results.items()}, title=EVIL, revision=EVIL, unasked=[EVIL])
    path.write_text(text, encoding="utf-8")
    assert text.count("<script") == 2
    assert "\u202e" not in text
    found = Shown(browser, path)
    page = found.page
    for button in page.locator(".open").all():
        button.click()
    page.locator("#find").fill("img")
    page.wait_for_timeout(200)
    assert page.evaluate("window.hurt") is None
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert EVIL[:8] in page.locator("h1").inner_text()
    assert page.locator("tr.more").first.inner_text().count("onerror") >= 4
    assert found.said == []
    assert found.asked == [found.url]
    # And had something got through, the policy lets nothing out.
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        place = f"http://127.0.0.1:{server.getsockname()[1]}/"
        page.evaluate("(src) => document.body.append(Object.assign(new Image(), {src}))", place)
        assert page.evaluate("(url) => fetch(url).then(() => 'sent', (error) => error.name)", place) == "TypeError"
        with pytest.raises(BlockingIOError):
            server.accept()
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p onclick=\"window.hurt = 3\" id=bad>x</p>')")
    page.locator("#bad").dispatch_event("click")
    assert page.evaluate("window.hurt") is None
    assert len([each for each in found.said if "Content Security Policy" in each]) >= 3
    found.close()


# A real balancer


def test_what_a_real_balancer_tells(tmp_path: Path) -> None:
    with sandbox("lb0"), compiled_once():
        bare = module("report_info", {})["facts"]
        assert (bare["installed"], bare["findings"]) == (False, [])
        ensure_balancer("attached", interfaces=["lb0"], features=FEATURES, sizes=SIZES)
        for resource in RESOURCES:
            apply(resource, world()[resource])
        # Whoever calls a module is in the history; whoever calls the engine, as here above, is not.
        module("reals", {"config": [{"address": "10.0.0.2", "state": "draining"}], "state": "merged"})
        with bpf.open_map(f"{MAPS}/fallback_cache") as table:
            vip = layout.pack_address("198.51.100.1")
            client = layout.pack_address("192.0.2.1")
            ids = {
                row["address"]: row["id"]
                for row in module("balancer_info", {"gather": ["counters"]})["counters"]["reals"]
            }
            for port, real in enumerate(["10.0.0.1"] * 30 + ["10.0.0.2"] * 10, 1000):
                key = layout.flow_key(client, vip, port, 80, 6)
                table.update_many([(key, layout.real_pos_lru(ids[real], 0))])
        trace = tmp_path / "trace"
        for check in (False, True):
            outcome = module(
                "report_info", {}, check=check, prefix=("strace", "-f", "-e", "trace=bpf", "-o", str(trace))
            )
            assert outcome["changed"] is False
            assert count_writes(trace) == 0
        facts = outcome["facts"]
        # A program that is gone with its pins, while state.json stays.
        run("ip", "link", "set", "lb0", "xdp", "off")
        run("rm", "-r", f"{BPFFS}/katran")
        bare = module("report_info", {})["facts"]
    assert len(json.dumps(facts)) < 30_000
    report = report_of([told_of("lb1", {"facts": facts})])
    row = next(each for each in report.vips if each.vip == "198.51.100.1:80/tcp")
    shares = {share.real: share for share in row.shares}
    assert {real: share.flows for real, share in shares.items()} == {"10.0.0.1": 30, "10.0.0.2": 10}
    assert {real: share.expected for real, share in shares.items()} == {"10.0.0.1": 1.0, "10.0.0.2": 0.0}
    assert shares["10.0.0.2"].is_odd
    assert sorted(each.vip for each in report.vips) == [
        "198.51.100.1:80/tcp",
        "198.51.100.2:80/udp",
        "203.0.113.0/24:0/tcp",
        "[2001:db8:1::/48]:80/udp",
        "[2001:db8::1]:80/tcp",
    ]
    assert [(each.real, each.state, each.by) for each in report.health.out if each.by == "hand"] == [
        ("10.0.0.2", "draining", "hand")
    ]
    # What doctor finds without a probe flow: a link of 1,500 bytes has no room for the tunnel.
    assert "mtu_balancer" in {each.name for each in report.health.troubles}
    assert [(each.hosts, each.what) for each in report.runs] == [("lb1", "real 10.0.0.2: as its VIPs say → draining")]
    page = rendered(report, About(time.time()))
    assert "One balancer answered: there is nothing to compare." in page
    both = report_of([told_of("lb1", {"facts": facts}), told_of("lb2", {"facts": bare})])
    assert [(each.host, each.state, each.vips) for each in both.balancers][1] == ("lb2", "not loaded", 5)
    assert ("Program", "not loaded") in [(each.what, each.sides[1][1]) for each in both.compared.differences]
    assert {each.name for each in both.health.troubles if each.hosts == "lb2"} == {"program_detached"}
    assert ">not loaded<" in rendered(both, About(time.time()))


# The playbook

INVENTORY = """
all:
  vars: {ansible_python_interpreter: /bin/false, katran_become: false}
  children:
    balancers:
      hosts:
        lb1: {ansible_connection: local}
        lb2: {ansible_host: 127.0.0.1, ansible_port: 1}
"""


def test_who_does_not_answer_is_on_the_page(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.yml"
    hosts.write_text(INVENTORY, encoding="utf-8")
    target = tmp_path / "page.html"
    done = run_playbook("-i", hosts, "katran.fleet.report", "-e", f"katran_report={target}", "--check")
    assert done.returncode == 0, done.stdout
    assert f"check mode writes no {target}" in done.stdout
    assert not target.exists()
    done = run_playbook("-i", hosts, "katran.fleet.report", "-e", f"katran_report={target}")
    assert done.returncode == 0, done.stdout
    assert f"2 errors (0 VIPs over 2 balancers): {target}" in done.stdout
    text = target.read_text(encoding="utf-8")
    assert "it does not answer: " in text
    assert (target.stat().st_mode & 0o777, list(tmp_path.glob("*.new"))) == (0o600, [])
    done = run_playbook("-i", hosts, "katran.fleet.report", "-e", f"katran_report={target}", "--limit", "lb1")
    assert "Not asked, as by --limit: lb2." in target.read_text(encoding="utf-8")
    done = run_playbook("-i", hosts, "katran.fleet.report", "-e", f"katran_report={tmp_path}/no/page.html")
    assert done.returncode == 2
    assert "cannot be written: No such file or directory" in done.stdout


def test_a_fleet_of_nothing_has_a_page(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.yml"
    hosts.write_text("all: {children: {balancers: {}}}\n", encoding="utf-8")
    target = tmp_path / "page.html"
    done = run_playbook("-i", hosts, "katran.fleet.report", "-e", f"katran_report={target}")
    assert done.returncode == 0, done.stdout
    text = target.read_text(encoding="utf-8")
    assert "The inventory has no balancer." in text
    assert "No VIP." in text
