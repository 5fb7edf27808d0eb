"""Detects public suffixes: domains under which any customer can register a host.

It combines rules for country registries with a short, manually maintained list of hosting providers on which programs
like this one are deployed.
"""

from __future__ import annotations

_OF_REGISTRIES = frozenset(
    {"ac", "co", "com", "edu", "gob", "gouv", "gov", "go", "govt", "id", "in", "info", "ltd", "me", "mil", "ne", "net"}
    | {"nom", "or", "org", "plc", "sch", "web"}
)
"""Second-level labels of country registries, such as the `co` of `co.uk`."""
_LETTERS_OF_COUNTRY = 2
_OF_HOSTING = frozenset(
    """
    appspot.com azurecontainerapps.io azureedge.net azurefd.net azurestaticapps.net azurewebsites.net
    blogspot.com cloudapp.net cloudflare.net cloudfront.net cloudfunctions.net ddns.net deno.dev digitaloceanspaces.com
    duckdns.org dyndns.org eu.org firebaseapp.com fly.dev github.io githubpreview.dev app.github.dev gitlab.io
    gitbook.io glitch.me herokuapp.com hf.space hopto.org lhr.life loca.lt localhost.run myshopify.com netlify.app
    ngrok.app ngrok.dev ngrok.io ngrok-free.app ngrok-free.dev nip.io no-ip.org now.sh ondigitalocean.app onrender.com
    pages.dev platform.sh pythonanywhere.com railway.app r2.dev readthedocs.io repl.co replit.app replit.dev run.app
    sslip.io streamlit.app surge.sh translate.goog traefik.me trycloudflare.com ts.net uk.com us.com vercel.app
    web.app windows.net wixsite.com workers.dev xip.io zapto.org
    """.split()  # noqa: SIM905 -- more readable as a text
)
_TREES = (
    *("amazonaws.com", "amazonaws.com.cn", "azure.com", "azurecontainerapps.io", "elasticbeanstalk.com"),
    *("lambda-url.on.aws", "nip.io", "oraclecloud.com", "railway.app", "run.app", "sslip.io", "windows.net"),
)
"""Providers whose regional domains are public suffixes too, such as `eu-west-1.elasticbeanstalk.com`."""
_OF_SERVICES = frozenset({"a", "blob", "cloudapp", "compute", "core", "elb", "execute-api", "s3", "up", "web"})


def is_public_suffix(host: str) -> bool:
    """Tell whether an entry of ALLOWED_HOSTS, such as `.co.uk`, allows hosts of unrelated owners."""
    name = host.strip().lower().rstrip(".")
    if not name.startswith("."):
        return False
    labels = name.strip(".").split(".")
    below, top = ".".join(labels), labels[-1]
    is_of_registry = len(labels) == 2 and len(top) == _LETTERS_OF_COUNTRY and labels[0] in _OF_REGISTRIES  # noqa: PLR2004
    return len(labels) == 1 or is_of_registry or below in _OF_HOSTING or _is_of_region(below)


def _is_of_region(name: str) -> bool:
    """Tell whether a name is a hosting provider's domain or one of its regional domains, without a customer's label."""
    return any(name == tree or (name.endswith(f".{tree}") and _looks_like_region(name, tree)) for tree in _TREES)


def _looks_like_region(name: str, tree: str) -> bool:
    labels = name.removesuffix(f".{tree}").split(".")
    return all(label in _OF_SERVICES or any(character.isdigit() for character in label) for label in labels)
