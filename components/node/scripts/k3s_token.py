"""Gives a cluster the token that a server's new config.yaml has, before that file is written.

Environment: ROOT, LIMIT_SECONDS, as in k3s-install.sh; FORMER, the config.yaml with the former tokens, which is by default the one
that K3s has. Stdin: the JSON map of files of k3s-install.sh. Exit: 0 also where the tokens are the same; 1 with the reason.

By the request that `k3s token rotate` makes, which would show the token in the list of processes. K3s encrypts what servers share
with the new token, and goes on until it is restarted with a config.yaml that has it. An agents' token of its own K3s reads from
config.yaml alone, and then refuses to start a second time, because its list of passwords is newer than the shared one
(rancher/rke2 issue 5785): so it is put into the list first, which the same request then shares.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request

CONFIG = "/etc/rancher/k3s/config.yaml"
DATA = "/var/lib/rancher/k3s/server/"
SERVERS = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
STATUS = "/v1-k3s/encrypt/status"
"""Of K3s's own API: what only servers may read, and nothing follows from it."""
DONE, REFUSED, SILENT = 200, (401, 403), 503
"""Statuses of answers. K3s gives the last while it starts; here it also means no answer."""
SLEEPS = "K3s on this server does not answer ({text}), and only a running one takes a new token: start it, then run `up` again"


def note(text: str) -> None:
    print(f"k3s: {text}", file=sys.stderr, flush=True)


def fail(text: str) -> None:
    note(text)
    sys.exit(1)


def value(config: str, key: str) -> str:
    """A text of config.yaml as this program writes it, one line each."""
    match = re.search(rf"""(?m)^{re.escape(key)}: *(?:'([^'\n]*)'|"([^"\n]*)"|([^\s'"#][^\n]*))$""", config)
    return next((text for text in match.groups() if text is not None), "").strip() if match else ""


def read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def passwords(text: str) -> dict[str, list[str]]:
    """The rows of K3s's list of passwords (password, user, …), by user."""
    return {row[1]: row for row in csv.reader(io.StringIO(text)) if len(row) > 1}


def with_password(text: str, user: str, password: str) -> str:
    """The list with another password of this user."""
    rows = passwords(text)
    rows[user] = [password, *rows.get(user, ["", user, user, f"k3s:{'agent' if user == 'node' else user}"])[1:]]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows.values())
    return out.getvalue()


def replace(path: str, text: str) -> None:
    handle = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.replace(path + ".new", path)


def opener(ca: str, client: str = "") -> urllib.request.OpenerDirector:
    """For requests to servers of this CA, without a proxy; client: path without suffix of the certificate and key to show."""
    context = ssl.create_default_context(cafile=ca)
    # K3s's own CAs are not what newer Pythons call strict.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if client:
        context.load_cert_chain(client + ".crt", client + ".key")
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))


class Server:
    """A server of the cluster, by its URL."""

    def __init__(self, url: str, ca: str) -> None:
        self.url, self.opener = url, opener(ca)

    def query(self, path: str, token: str, document: bytes | None = None, limit: float = 60) -> tuple[int, str]:
        """Status and text of the answer to a server with this token; OSError where there is none."""
        request = urllib.request.Request(self.url + path, data=document, method="GET" if document is None else "PUT")  # noqa: S310
        request.add_header("Authorization", "Basic " + base64.b64encode(f"server:{token}".encode()).decode())
        request.add_header("Content-Type", "application/json")
        try:
            with self.opener.open(request, timeout=limit) as answer:
                return answer.status, ""
        except urllib.error.HTTPError as error:
            return error.code, error.read(500).decode(errors="replace").strip()

    def takes(self, token: str) -> bool:
        """Whether servers may join here with this token. A server that does not answer takes none."""
        try:
            return self.query(STATUS, token, limit=10)[0] not in (*REFUSED, SILENT)
        except OSError:
            return False


def here(root: str) -> str:
    """The URL of this server, from the kubeconfig that K3s writes."""
    match = re.search(r"(?m)^\s*server: *\"?(https://[^\s\"]+)", read(root + "/etc/rancher/k3s/k3s.yaml"))
    return match[1] if match else "https://127.0.0.1:6443"


def others(root: str) -> list[str]:
    """URLs of the cluster's servers, as its API lists them: behind a virtual address may be one that has the former token still.
    Empty where the API of this server does not answer."""
    data = root + DATA
    try:
        with opener(data + "tls/server-ca.crt", data + "tls/client-admin").open(here(root) + SERVERS, timeout=10) as answer:
            listed = json.load(answer)
        port = listed["ports"][0]["port"]
        return [f"https://{address}:{port}" for endpoint in listed["endpoints"] for address in endpoint["addresses"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def named(config: str, port: str) -> list[str]:
    """URLs of the cluster's servers by the addresses that are to be in their certificates (tls-san), which this program writes one
    a line. Some may not be there yet."""
    match = re.search(r"""(?m)^tls-san:\n((?: *- .*\n?)*)""", config)
    addresses = re.findall(r"""(?m)^ *- *['"]?(\d+(?:\.\d+){3})['"]?$""", match[1] if match else "")
    return [f"https://{address}:{port}" for address in addresses]


def rotate(root: str, new: str, old: str, limit: float) -> str:
    """What was done, as a word. Exits with the reason where the cluster does not take the token."""
    token, data = value(new, "token"), root + DATA
    agents, former_agents = value(new, "agent-token"), value(old, "agent-token")
    formers = [value(old, "token")]
    if not token or not formers[0] or (token, agents) == (formers[0], former_agents):
        return "same"
    ca, join = data + "tls/server-ca.crt", value(new, "server")
    # With the same servers' token it says nothing that a server takes it.
    if join and token != formers[0]:
        # A K3s that has ended cannot list the others.
        urls = dict.fromkeys([join, *(others(root) or named(new, here(root).rpartition(":")[2]))])
        if any(Server(url, ca).takes(token) for url in urls):
            return "joins"
    list_file = data + "cred/passwd"
    listed = read(list_file)
    formers += [row[0] for user, row in passwords(listed).items() if user == "server"]
    server = Server(here(root), ca)
    # A K3s that does not run must find its list as it was: it does not start with one that is newer than what servers share.
    status, text = query(server, STATUS, [*formers, token], limit)
    if status == SILENT:
        if formers[-1] == token != formers[0]:
            # A former run was cut off between the request and the file, and K3s has ended since: it starts with the new one alone.
            return "had it"
        fail(SLEEPS.format(text=text))
    shared = with_password(listed, "node", agents or token) if agents or former_agents else listed
    if shared != listed:
        replace(list_file, shared)
    note("giving the cluster the new token")
    status, text = put(server, token, formers, limit)
    if status not in (DONE, SILENT, *REFUSED):
        # K3s writes the list before what servers share. Where a request ended between the two, as when etcd had no leader, K3s
        # looks for what it shares under the list's token, in vain, for ever. From the former token it begins again, also where what
        # it shares has the new one already (pkg/server/handlers/token.go; pkg/cluster/storage.go, migrateTokens).
        begun = with_password(shared, "server", formers[0])
        replace(list_file, begun if agents or former_agents else with_password(begun, "node", formers[0]))
        status, text = put(server, token, formers, limit)
    if status == DONE:
        # As long as K3s's own command gives etcd.
        time.sleep(1)
        return "rotated"
    if read(list_file) != listed:
        replace(list_file, with_password(listed, "server", formers[0]))
    if status == SILENT:
        fail(SLEEPS.format(text=text))
    fail(f"the cluster has not taken the new token, and keeps the old one: it answers {status} {text}")
    return ""


def put(server: Server, token: str, formers: list[str], limit: float) -> tuple[int, str]:
    """The answer to the request for this token."""
    return query(server, "/v1-k3s/token", [*formers, token], limit, json.dumps({"newToken": token}).encode())


def query(server: Server, path: str, tokens: list[str], limit: float, document: bytes | None = None) -> tuple[int, str]:
    """The answer with whichever of the tokens the server takes; the last one within the limit."""
    end = time.monotonic() + limit
    while True:
        for token in dict.fromkeys(tokens):
            try:
                status, text = server.query(path, token, document)
            except OSError as error:
                status, text = SILENT, str(getattr(error, "reason", error))
            if status not in REFUSED:
                break
        if status != SILENT or time.monotonic() >= end:
            return status, text
        time.sleep(2)


def main() -> None:
    root = os.environ.get("ROOT", "")
    documents = json.load(sys.stdin)
    new = documents.get(CONFIG, {}).get("content", "")
    old = read(os.environ.get("FORMER") or root + CONFIG)
    rotate(root, new, old, min(60.0, float(os.environ.get("LIMIT_SECONDS", "60"))))


if __name__ == "__main__":
    main()
