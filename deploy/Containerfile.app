# An image of a program of yours that has an App embedded. Copy it beside the program, and change the names.
#     podman build -f Containerfile -t registry.example.com/orders:2.4 .

ARG PERDURE=perdure:0.1.0

# hadolint ignore=DL3006  because the name above has the tag
FROM ${PERDURE}
USER 0:0
COPY requirements.txt /opt/app/
RUN pip install --no-cache-dir --disable-pip-version-check -r /opt/app/requirements.txt
COPY . /opt/app
WORKDIR /opt/app
USER 10001:10001
# The worker answers no HTTP.
HEALTHCHECK NONE
CMD ["worker", "--json", "orders:app"]
