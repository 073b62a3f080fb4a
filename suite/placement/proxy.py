"""Keeps the messages between workers from going through a proxy.

TensorFlow's workers exchange messages by gRPC, which sends them to the proxy of `http_proxy`, even
for addresses of this machine, unless `no_proxy` names the host. The proxy usually cannot reach the
workers, and all of them wait.
"""

import ipaddress
import logging
import socket
from collections.abc import Iterable, MutableMapping

log = logging.getLogger(__name__)

# In the order in which gRPC reads them; gRPC ignores upper-case names.
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
EXCEPTIONS = ("no_grpc_proxy", "no_proxy")
LOCAL = ("localhost", "127.0.0.1", "[::1]")


def bypass(environment: MutableMapping[str, str], addresses: Iterable[str]) -> None:
    """Adds this machine's names to `no_proxy`; warns of other workers' hosts that are not in it.

    Args:
        environment: The environment of a worker, before TensorFlow opens a connection; changed in
            place.
        addresses: `host:port` of all workers.
    """
    variable = next((name for name in PROXIES if environment.get(name)), None)
    if variable is None:
        return
    exceptions = next((name for name in EXCEPTIONS if environment.get(name)), "no_proxy")
    names = [name.strip() for name in environment.get(exceptions, "").split(",")]
    hosts = {address.rpartition(":")[0] for address in addresses}
    local = {*LOCAL, *filter(_is_local, hosts)}
    environment[exceptions] = ",".join([*filter(None, names), *sorted(local - set(names))])
    if through_proxy := sorted(host for host in hosts - local if not _matches(host, names)):
        log.warning(
            "The workers' messages go through the proxy of %s, which may not let them: "
            "%s should name %s.",
            variable,
            exceptions,
            ",".join(through_proxy),
        )


def _is_local(host: str) -> bool:
    name = host.strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() in ("localhost", socket.gethostname().lower())


def _matches(host: str, names: Iterable[str]) -> bool:
    """Whether `no_proxy` has a host by gRPC's rules: an ending of its name, or its network."""
    for name in filter(None, names):
        if host.lower().endswith(name.lower()):
            return True
        try:
            if ipaddress.ip_address(host.strip("[]")) in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:  # a name rather than an IP address
            pass
    return False
