"""The second listener: what people and monitoring ask the proxy, and how they stop it."""

from proxy.admin.access import Access
from proxy.admin.app import build_admin
from proxy.admin.parts import AdminParts
from proxy.admin.token import load_or_create_token

__all__ = ["Access", "AdminParts", "build_admin", "load_or_create_token"]
