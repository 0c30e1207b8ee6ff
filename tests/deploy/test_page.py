"""The server's page in a real browser: what it draws, what it asks for, and what it says when that is refused."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hrfamily_deploy.imaging import drawing
from hrfamily_deploy.predictor import Predictor
from tests.deploy.conftest import COLORS, describe_in
from tests.deploy.served import held_upload, served

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECRET = "correct-horse"
MOST_PIXELS = 20_000
HEIGHT, WIDTH = 90, 120
_SECONDS = 20.0
_SEND = """
const [kind, base64, name, type] = arguments;
const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], name, {type}));
const event = kind === "paste" ? new ClipboardEvent(kind, {clipboardData: data, bubbles: true})
                               : new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
document.body.dispatchEvent(event);
"""
_UNNAMED = """
const isNamed = (part) => part.ariaLabel || part.textContent.trim() || part.labels?.length || part.title;
return [...document.querySelectorAll("button, input, select, canvas, [tabindex]")]
  .filter((part) => part.checkVisibility() && !isNamed(part)).map((part) => part.outerHTML);
"""

Photo = Callable[..., np.ndarray]


class Page:
    """The page as a visitor sees it."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver, self.url = driver, url
        driver.get(url)
        self.wait(lambda: self.element("model").is_enabled() or self.element("notice").is_displayed())
        self.requests()

    def element(self, name: str) -> WebElement:
        return self.driver.find_element(By.ID, name)

    def wait(self, condition: Callable[[], object]) -> object:
        return WebDriverWait(self.driver, _SECONDS, poll_frequency=0.05).until(lambda _: condition())

    def choose(self, path: Path) -> None:
        self.element("file").send_keys(str(path))

    def send(self, how: str, path: Path, media_type: str = "image/png") -> None:
        self.driver.execute_script(_SEND, how, base64.b64encode(path.read_bytes()).decode(), path.name, media_type)

    def wait_for(self, name: str) -> None:
        """Until the image of that name is segmented."""
        self.wait(lambda: self.element("named").text.startswith(name) and self.element("times").is_displayed())
        self.frame()

    def wait_for_message(self, *words: str) -> str:
        self.wait(lambda: all(word in self.element("message").text for word in words))
        return self.element("message").text

    def frame(self) -> None:
        self.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def set_opacity(self, per_cent: int) -> None:
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.driver.execute_script(script, self.element("opacity"), per_cent)
        self.frame()

    def pixels(self) -> np.ndarray:
        data = self.driver.execute_script("return document.getElementById('canvas').toDataURL()")
        with Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))) as image:
            return np.array(image.convert("RGB"))

    def legend(self) -> list[tuple[str, str]]:
        rows = self.driver.find_elements(By.CSS_SELECTOR, "#present button")
        return [tuple(row.find_element(By.CLASS_NAME, part).text for part in ("name", "share")) for row in rows]

    def box(self, name: str) -> dict[str, float]:
        """Where it is, after all transforms; `rect` is before them."""
        return self.driver.execute_script("return arguments[0].getBoundingClientRect().toJSON()", self.element(name))

    def row(self, index: int) -> WebElement:
        return self.driver.find_elements(By.CSS_SELECTOR, "#present button")[index]

    def requests(self) -> list[str]:
        """Addresses asked for since the last call."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        sent = (each for each in messages if each["method"] == "Network.requestWillBeSent")
        return [each["params"]["request"]["url"] for each in sent]


@pytest.fixture(scope="module")
def bundle(graphs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return describe_in(tmp_path_factory.mktemp("page"), graphs)()


@pytest.fixture(scope="module")
def confident(graphs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return describe_in(tmp_path_factory.mktemp("confident"), graphs)("none")


@pytest.fixture(scope="module")
def url(bundle: Path, confident: Path) -> Iterator[str]:
    limits = ["--max-pixels", MOST_PIXELS, "--max-uploads", 1]
    with served(f"street={bundle}", f"lane={bundle}", f"sure={confident}", *limits) as address:
        yield address


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def driver(downloads: Path) -> Iterator[webdriver.Chrome]:
    browser, chromedriver = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    if not browser or not chromedriver:
        pytest.skip("no Chromium with its chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "no-proxy-server", "window-size=1200,800"):
        options.add_argument(f"--{flag}")
    several = "profile.default_content_setting_values.automatic_downloads"
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads), several: 1})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    try:
        yield started
    finally:
        started.quit()


@pytest.fixture
def page(driver: webdriver.Chrome, url: str) -> Iterator[Page]:
    driver.get_log("browser")
    yield Page(driver, url)
    assert complaints(driver) == []


def complaints(driver: webdriver.Chrome) -> list[str]:
    """What the browser's console has of errors, but for the server's refusals."""
    severe = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    return [message for message in severe if "the server responded with a status of 4" not in message]


@pytest.fixture
def picture(photo: Photo, tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    Image.fromarray(photo(HEIGHT, WIDTH)).save(path)
    return path


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return Predictor(bundle, device="cpu")


def colored(label: np.ndarray) -> np.ndarray:
    return np.array(COLORS, np.uint8)[label]


@pytest.mark.parametrize("how", ["choose", "drop", "paste"])
def test_an_image_is_drawn_under_its_classes(
    page: Page, picture: Path, photo: Photo, predictor: Predictor, how: str
) -> None:
    page.choose(picture) if how == "choose" else page.send(how, picture)
    page.wait_for("street.png")
    label = predictor.predict(picture)[0]
    assert page.requests() == [f"{page.url}/v1/models/street/segment?output=json"]

    expected = drawing.overlay(photo(HEIGHT, WIDTH), label, COLORS, 0.4).astype(int)
    assert np.abs(page.pixels() - expected).max() <= 2
    page.set_opacity(100)
    np.testing.assert_array_equal(page.pixels(), colored(label))
    page.set_opacity(0)
    assert np.abs(page.pixels() - photo(HEIGHT, WIDTH).astype(int)).max() <= 1
    assert page.requests() == []


def test_legend_and_times(page: Page, picture: Path, predictor: Predictor) -> None:
    names = predictor.bundle.class_names
    assert [name for name, _ in page.legend()] == list(names)
    page.choose(picture)
    page.wait_for("street.png")
    share = drawing.shares(predictor.predict(picture)[0], len(names))
    expected = [(names[index], drawing.per_cent(share[index])) for index in np.argsort(-share, kind="stable")]
    assert page.legend() == [entry for entry in expected if share[names.index(entry[0])]]
    assert page.element("named").text == f"street.png · {WIDTH}×{HEIGHT}"
    stages = page.element("stages").text.split("\n")
    assert {"decode", "run", "encode", "transfer and the rest"} <= set(stages)
    assert all(float(stage.split()[0]) >= 0 for stage in stages[1::2]) and "s" in page.element("total").text


def test_a_class_is_looked_at(page: Page, picture: Path, predictor: Predictor) -> None:
    page.choose(picture)
    page.wait_for("street.png")
    page.set_opacity(100)
    label, everything = predictor.predict(picture)[0], page.pixels()
    looked = predictor.bundle.class_names.index(page.legend()[1][0])

    def is_alone() -> bool:
        page.frame()
        found = page.pixels()
        return (found[label == looked] == COLORS[looked]).all() and found[label != looked].max() < 128

    ActionChains(page.driver).move_to_element(page.row(1)).perform()
    assert is_alone()
    ActionChains(page.driver).move_to_element(page.element("named")).perform()
    page.frame()
    np.testing.assert_array_equal(page.pixels(), everything)
    page.row(1).send_keys(Keys.ENTER)
    assert is_alone() and page.row(1).get_attribute("aria-pressed") == "true"
    page.row(1).send_keys(Keys.ESCAPE)
    page.frame()
    np.testing.assert_array_equal(page.pixels(), everything)


def test_the_class_under_the_pointer(page: Page, picture: Path, predictor: Predictor) -> None:
    page.choose(picture)
    page.wait_for("street.png")
    ActionChains(page.driver).move_to_element_with_offset(page.element("canvas"), 40, -30).perform()
    page.wait(lambda: page.element("where").is_displayed())
    name, _, place = page.element("where").text.partition(" · ")
    x, y = map(int, place.split(", "))
    assert name == predictor.bundle.class_names[predictor.predict(picture)[0][y, x]]


def test_zoom_and_the_original_by_keys(page: Page, picture: Path, photo: Photo) -> None:
    page.choose(picture)
    page.wait_for("street.png")
    stage, fitting = page.element("stage"), page.box("canvas")["width"]
    stage.send_keys("++")
    assert page.box("canvas")["width"] == pytest.approx(fitting * 1.4**2, rel=0.01)
    before = page.box("canvas")["x"]
    stage.send_keys(Keys.ARROW_LEFT)
    assert page.box("canvas")["x"] > before
    stage.send_keys("0o")
    page.frame()
    assert page.box("canvas")["width"] == pytest.approx(fitting, rel=0.01)
    assert np.abs(page.pixels() - photo(HEIGHT, WIDTH).astype(int)).max() <= 1


def test_models(page: Page, picture: Path) -> None:
    page.choose(picture)
    page.wait_for("street.png")
    page.requests()
    for name, expected in (("lane", [f"{page.url}/v1/models/lane/segment?output=json"]), ("street", [])):
        page.element("model").send_keys(name)
        page.wait(lambda: not page.element("busy").is_displayed())
        page.frame()
        assert page.requests() == expected


def test_pixels_below_a_threshold_are_unsure(page: Page, picture: Path, confident: Path, downloads: Path) -> None:
    assert not page.element("doubt").is_displayed()  # of a network that ends in labels
    page.element("model").send_keys("sure")
    page.wait(page.element("doubt").is_displayed)
    page.choose(picture)
    page.wait_for("street.png")
    page.set_opacity(100)
    predictor = Predictor(confident, device="cpu")
    label, sure = (predictor.predict(picture, output)[0] for output in ("labels", "max_probability"))
    np.testing.assert_array_equal(page.pixels(), colored(label))
    page.requests()

    move = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    page.driver.execute_script(move, page.element("unsure"), 60)
    page.wait(lambda: "unsure" in page.element("present").text)
    page.frame()
    assert page.requests() == [f"{page.url}/v1/models/sure/segment?output=confidence"]
    clear = np.abs(sure - 0.6) > 2 / 255  # the browser has 8 bits
    expected = np.where((sure < 0.6)[..., None], 255, colored(label))
    assert 0.1 < (sure < 0.6).mean() < 0.9 and clear.mean() > 0.9
    np.testing.assert_array_equal(page.pixels()[clear], expected[clear])
    assert float(dict(page.legend())["unsure"].rstrip("%")) / 100 == pytest.approx((sure < 0.6).mean(), abs=0.02)

    page.element("save-labels").click()
    page.wait(lambda: list(downloads.glob("street_labels*.png")))
    page.driver.execute_script(move, page.element("unsure"), 0)
    page.frame()
    np.testing.assert_array_equal(page.pixels(), colored(label))
    assert "unsure" not in dict(page.legend())
    [saved] = downloads.glob("street_labels*.png")
    with Image.open(saved) as image:
        np.testing.assert_array_equal(np.array(image), np.where(sure < np.float32(0.6), 255, label))
    saved.unlink()


def test_saving(page: Page, picture: Path, predictor: Predictor, downloads: Path) -> None:
    page.choose(picture)
    page.wait_for("street.png")
    label = predictor.predict(picture)[0]
    page.set_opacity(100)
    for kind in ("labels", "overlay", "json"):
        page.element(f"save-{kind}").click()
    names = ("street_labels.png", "street_overlay.png", "street.json")
    page.wait(lambda: all((downloads / name).is_file() for name in names))
    with Image.open(downloads / names[0]) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), label)
    with Image.open(downloads / names[1]) as image:
        np.testing.assert_array_equal(np.array(image.convert("RGB")), colored(label))
    values, lengths = np.array(json.loads((downloads / names[2]).read_text())["runs"]).T
    np.testing.assert_array_equal(np.repeat(values, lengths), label.ravel())


def test_a_turned_photograph(page: Page, photo: Photo, predictor: Predictor, tmp_path: Path) -> None:
    path, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    Image.fromarray(photo(HEIGHT, WIDTH)).save(path, exif=exif, quality=95)
    page.choose(path)
    page.wait_for("turned.jpg")
    page.set_opacity(100)
    np.testing.assert_array_equal(page.pixels(), colored(predictor.predict(path)[0]))


def test_an_image_that_the_browser_cannot_show(page: Page, photo: Photo, predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "aerial.tif"
    Image.fromarray(photo(HEIGHT, WIDTH)).save(path)
    page.choose(path)
    page.wait_for("aerial.tif")
    page.set_opacity(100)
    np.testing.assert_array_equal(page.pixels(), colored(predictor.predict(path)[0]))


def test_what_is_no_image(page: Page, picture: Path, tmp_path: Path) -> None:
    notes, disguised = tmp_path / "notes.txt", tmp_path / "notes.png"
    for path in (notes, disguised):
        path.write_text("10 letters")
    page.send("drop", notes, "text/plain")
    page.wait_for_message("notes.txt is not an image")
    assert page.requests() == []
    page.choose(disguised)
    page.wait_for_message("Not an image:", "10 bytes")
    assert page.element("empty").is_displayed() and not page.element("save-labels").is_enabled()
    page.choose(picture)
    page.wait_for("street.png")
    assert not page.element("notice").is_displayed()


def test_what_is_too_large_can_be_sent_smaller(page: Page, photo: Photo, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(photo(200, 300)).save(path)
    page.choose(path)
    page.wait_for_message("Too large for this server", "300x200")
    again = page.element("again")
    page.wait(again.is_displayed)
    assert again.text == "Send it smaller"
    again.click()
    page.wait_for("large.jpg")
    height, width = page.pixels().shape[:2]
    assert 0.95 * MOST_PIXELS < height * width <= MOST_PIXELS and width / height == pytest.approx(1.5, abs=0.02)


def test_a_busy_server_is_asked_again(page: Page, picture: Path) -> None:
    with held_upload(page.url, "street"):
        page.choose(picture)
        page.wait_for_message("The server is busy; trying again in")
    page.wait_for("street.png")
    assert not page.element("notice").is_displayed() and len(page.requests()) >= 2


def test_a_server_with_a_key_which_then_is_gone(
    page: Page, driver: webdriver.Chrome, bundle: Path, picture: Path
) -> None:
    assert not page.element("key").is_displayed()
    with served(f"street={bundle}", key=SECRET) as url:
        locked = Page(driver, url)
        locked.wait_for_message("asks for a key")
        locked.element("secret").send_keys("wrong", Keys.ENTER)
        locked.wait_for_message("not this server's key")
        locked.element("secret").clear()
        locked.element("secret").send_keys(SECRET, Keys.ENTER)
        locked.wait(locked.element("model").is_enabled)
        assert not locked.element("notice").is_displayed()
        locked.choose(picture)
        locked.wait_for("street.png")
    locked.choose(picture)
    locked.wait_for_message("No answer")
    locked.wait(locked.element("again").is_displayed)
    driver.get_log("browser")  # it says that the connection was refused


def test_nothing_comes_from_elsewhere(page: Page, picture: Path) -> None:
    page.driver.refresh()
    page.choose(picture)
    page.wait_for("street.png")
    asked = page.requests()
    assert f"{page.url}/" in asked and all(each.startswith((page.url, "data:", "blob:")) for each in asked), asked


def test_everything_has_a_name(page: Page, picture: Path) -> None:
    page.choose(picture)
    page.wait_for("street.png")
    assert page.driver.execute_script(_UNNAMED) == []


@pytest.mark.parametrize("width", [340, 600, 1200])
def test_it_fits_windows_of_any_width(page: Page, picture: Path, width: int) -> None:
    metrics = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    with contextlib.ExitStack() as stack:
        stack.callback(page.driver.execute_cdp_cmd, "Emulation.clearDeviceMetricsOverride", {})
        page.choose(picture)
        page.wait_for("street.png")
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
        canvas, stage = page.box("canvas"), page.box("stage")
        assert 100 < canvas["width"] <= stage["width"] + 1 and canvas["height"] <= stage["height"] + 1


def test_light_and_dark(page: Page) -> None:
    def brightness() -> int:
        color = page.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        return int(color.partition("(")[2].partition(",")[0])

    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    try:
        assert brightness() < 60
        page.element("theme").click()
        assert page.element("theme").get_attribute("aria-label") == "Theme: light" and brightness() > 200
        page.driver.refresh()
        assert brightness() > 200
    finally:
        page.driver.execute_script("localStorage.clear()")
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
