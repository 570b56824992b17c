"""How the page looks: colours, fonts of the machine it runs on, its own files."""

import gradio as gr


def theme() -> gr.themes.Base:
    """Return the theme: calm, light or dark as the system is, no fonts from elsewhere."""
    made: gr.themes.Base = gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        # White on it has a contrast of 6 to 1.
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_hover="*neutral_200",
        button_large_radius="10px",
        block_radius="10px",
    )
    return made


def head(stamp: str) -> str:
    """Return what goes into the head of the page: scripts of this server."""
    return "".join(
        f'<script type="module" src="page/static/{name}?{stamp}"></script>'
        for name in ("page.js", "drop.js")
    )
