"""The settings of the packages that our admin uses; another project with our admin imports all of them."""

from __future__ import annotations

# Failed logins are throttled; `orbsite.admin.auth.login_throttling` has the rules.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_HANDLER = "orbsite.admin.auth.login_throttling.Handler"
AXES_FAILURE_LIMIT = 10  # per user name and network
AXES_COOLOFF_TIME = 24  # hours, after which failed logins are forgotten
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # attempts while locked out must not extend the lockout
AXES_CLIENT_IP_CALLABLE = "orbsite.runtime.client_ip.network_of"
AXES_VERBOSE = False

OTP_TOTP_ISSUER = "Orb persistence"  # the name of this site in authenticator apps
