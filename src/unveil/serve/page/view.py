"""The pieces of HTML the page is made of. Whatever comes from a user is escaped here."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unveil.serve.page.desk import Desk, Photo
    from unveil.serve.page.samples import Sample

_KINDS = "JPEG, PNG, TIFF, WebP, AVIF" + (", HEIC" if find_spec("pillow_heif") else "")
_NAMES = {"noise": "Noise", "rain": "Rain", "haze": "Haze"}


def tag(name: str, inner: str = "", /, **attributes: Any) -> str:
    """Write an element; attributes are escaped, `inner` is HTML already.

    An attribute that is True stands alone, one that is False or None is left out; `_` at the end
    of a name keeps it from being a Python keyword, elsewhere it stands for a hyphen.

    >>> tag("a", "b", href='"><script>', hidden=True, title=None)
    '<a href="&quot;&gt;&lt;script&gt;" hidden>b</a>'
    """
    words = [name]
    for key, value in attributes.items():
        word = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(word)
        elif value is not False and value is not None:
            words.append(f'{word}="{escape(str(value))}"')
    return f"<{' '.join(words)}>{inner}</{name}>"


def drop(desk: "Desk", most: int, *, purpose: str, many: bool) -> str:
    """Write the place where photos are dropped; `most` is the size of the largest, in bytes."""
    small = bool(desk.photos) if purpose == "restore" else desk.clean is not None
    return tag(
        "unveil-drop",
        desk=desk.key,
        purpose=purpose,
        many=many,
        small=small,
        most=most,
        kinds=_KINDS,
    )


def samples(offered: Iterable["Sample"]) -> str:
    """Write the buttons of the sample photos."""
    buttons = [
        tag(
            "button",
            f'<img src="page/samples/{escape(s.key)}" alt="">' + tag("span", escape(s.title)),
            type="button",
            data_sample=s.key,
            title=s.about,
        )
        for s in offered
    ]
    words = tag("p", "No photo at hand? Try one of these:")
    return tag("div", words + "".join(buttons), class_="unveil-samples", role="group")


def strip(desk: "Desk") -> str:
    """Write the photos of a desk as a row of small pictures; nothing for none."""
    if not desk.photos:
        return ""
    items = [_thumb(photo, photo.key == desk.chosen) for photo in desk.photos.values()]
    return tag("ul", "".join(items), class_="unveil-strip", aria_label="Your photos")


def _thumb(photo: "Photo", chosen: bool) -> str:
    state = "failed" if photo.problem else "restored" if photo.restored else "waiting"
    mark = {"failed": "!", "restored": "✓", "waiting": ""}[state]
    label = f"{photo.name}, {photo.problem or state}"
    picture = f'<img src="page/seen/{photo.key}/thumb" alt="">' + tag("i", mark, class_=state)
    show = tag(
        "button",
        picture,
        type="button",
        data_photo=photo.key,
        aria_label=label,
        aria_pressed=str(chosen).lower(),
        title=photo.name,
    )
    away = tag(
        "button", "×", type="button", class_="away", data_remove=photo.key,
        aria_label=f"Remove {photo.name}", title="Remove",
    )  # fmt: skip
    return tag("li", show + away)


def compare(photo: "Photo | None") -> str:
    """Write the before/after view of a photo; before it is restored there is only before."""
    if photo is None:
        return ""
    width, height = photo.size
    after = f"page/seen/{photo.key}/after?{photo.version}" if photo.restored else None
    return tag(
        "unveil-compare",
        before=f"page/seen/{photo.key}/before",
        after=after,
        width=width,
        height=height,
        name=photo.name,
    )


def pair(clean: "Photo", left: tuple[str, str], right: tuple[str, str]) -> str:
    """Write the view of two versions of a photo: what each is called, and its address."""
    return tag(
        "unveil-compare",
        before=left[1],
        after=right[1],
        left=left[0],
        right=right[0],
        width=clean.size[0],
        height=clean.size[1],
        name=clean.name,
        fixed=True,
    )


def abilities(removed: Sequence[str]) -> str:
    """Say what the bundled networks remove."""
    if len(removed) == 3:
        return ""
    text = f"What is bundled removes {listed(removed)} only."
    return tag("p", escape(text), class_="unveil-quiet")


def shown(message: str) -> Exception:
    """Return the error that Gradio shows as one line."""
    import gradio  # noqa: PLC0415 - this module is otherwise plain text

    return gradio.Error(escape(message), title="", print_exception=False)


def report(photo: "Photo | None", able: bool) -> str:
    """Write what the network sees in a photo, or plainly that none can tell."""
    if photo is None:
        return ""
    head = tag("h3", "What the network sees")
    if photo.report is None:
        why = (
            "Not looked at yet; restoring it will tell."
            if able
            else "The bundled model cannot tell what is wrong with a photo. "
            "It restores it all the same."
        )
        return head + tag("p", why, class_="unveil-quiet")
    seen = photo.report
    bars = [_bar(cause, chance) for cause, chance in seen.probabilities.items()]
    return head + tag("p", escape(_sentence(seen))) + tag("ul", "".join(bars), class_="unveil-seen")


def _sentence(seen: Any) -> str:
    if seen.verdict == ("clean",):
        return "This photo looks clean."
    words = [
        f"noise (σ ≈ {seen.sigma_255:.0f})" if cause == "noise" and seen.sigma_255 else cause
        for cause in seen.verdict
    ]
    text = " and ".join(words)
    return f"{text[0].upper()}{text[1:]}."


def _bar(cause: str, chance: float) -> str:
    percent = f"{100 * chance:.0f} %"
    meter = tag("meter", percent, min=0, max=1, value=f"{chance:.3f}", aria_label=cause)
    return tag("li", tag("span", escape(_NAMES.get(cause, cause))) + meter + tag("b", percent))


def status(photo: "Photo | None") -> str:
    """Write what became of a photo, in one line."""
    if photo is None:
        return ""
    if photo.problem:
        return tag("p", escape(photo.problem), class_="unveil-problem", role="alert")
    if photo.restored is None:
        return ""
    made = photo.restored
    tiles = f", {made.tiles} tiles" if made.tiles > 1 else ""
    text = f"Restored in {made.seconds:.1f} s by {made.model}{tiles}."
    return tag("p", escape(text), class_="unveil-quiet", role="status")


def progress(text: str, share: float | None) -> str:
    """Write a progress bar; a share of None is still unknown."""
    value = None if share is None else f"{share:.3f}"
    bar = tag("progress", "", max=1, value=value, aria_label="Restoring")
    return tag("div", bar + tag("p", escape(text), role="status"), class_="unveil-progress")


def take(desk: "Desk") -> str:
    """Write the links that take results home."""
    photo = desk.photo
    done = [p for p in desk.photos.values() if p.restored]
    links = []
    if photo is not None and photo.restored:
        links.append(_link(f"page/files/{photo.key}", "Download", "main"))
    if len(done) > 1:
        links.append(_link(f"page/zip/{desk.key}", f"Download all {len(done)} as zip", ""))
    if not links:
        return ""
    say = tag("p", "", class_="unveil-say", role="status")
    return tag("div", "".join(links) + say, class_="unveil-take")


def _link(address: str, text: str, kind: str) -> str:
    return tag(
        "a", text, href=address, download=True, data_download=True, data_strength=True, class_=kind
    )


def scores(rows: Sequence[tuple[str, float, float | None]]) -> str:
    """Write PSNR and SSIM of pictures against the clean one.

    Args:
        rows: What is scored, PSNR in dB, SSIM or None where it cannot be computed.
    """
    if not rows:
        return ""
    head = "<thead><tr><th></th><th>PSNR</th><th>SSIM</th></tr></thead>"
    body = "".join(
        tag(
            "tr",
            tag("th", escape(name), scope="row")
            + tag("td", "equal" if psnr == float("inf") else f"{psnr:.2f} dB")
            + tag("td", "–" if ssim is None else f"{ssim:.4f}"),
        )
        for name, psnr, ssim in rows
    )
    return tag("table", head + tag("tbody", body), class_="unveil-scores")


def header(removed: Sequence[str], place: str) -> str:
    """Write the head of the page.

    Args:
        removed: What the networks on offer remove.
        place: Where photos stay.
    """
    mark = (
        '<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="9.5"/>'
        '<path d="M12 2.5a9.5 9.5 0 0 1 0 19z"/></svg>'
    )
    words = f"Removes {listed(removed)} from photos. Everything stays on {place}."
    return tag("header", mark + tag("h1", "unveil") + tag("p", escape(words)), class_="unveil-head")


def listed(names: Sequence[str]) -> str:
    """Join names as in a sentence.

    >>> listed(["noise", "rain", "haze"])
    'noise, rain and haze'
    """
    return " and ".join([*filter(None, [", ".join(names[:-1])]), *names[-1:]])


def footer(version: str, keep_s: float) -> str:
    """Write the foot of the page."""
    kept = f"{keep_s / 60:.0f} minutes" if keep_s >= 120 else f"{keep_s:.0f} seconds"
    text = (
        f"Photos are deleted when this page is closed, or {kept} after they were last used. "
        'For other programs: <a href="docs">the HTTP API</a>. '
    )
    return tag("footer", text + escape(f"unveil {version}"), class_="unveil-foot")
