"""Write the dashboards' JSON: `python -m tools.dashboards`."""

from tools.dashboards.rendering import FOLDER, render

if __name__ == "__main__":
    for name, text in render().items():
        (FOLDER / name).write_text(text)
