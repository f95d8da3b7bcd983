# docker build -f routers/deploy/xftp.Dockerfile -t xftp-server .
# docker run -d -p 443:443 -e ADDR=xftp.example.com -e QUOTA=100gb \
#     -v xftp-config:/etc/opt/simplex-xftp -v xftp-data:/var/opt/simplex-xftp -v xftp-files:/srv/xftp xftp-server
# Directories of the reference's image belong to root: add `--user 0`, or give them to 10001.
FROM rust:1-trixie AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked -p simplex-routers --bin xftp-server

FROM debian:trixie-slim
RUN useradd --system --uid 10001 xftp \
    && install -d -o xftp -g xftp /etc/opt/simplex-xftp /var/opt/simplex-xftp /srv/xftp
COPY --from=build /source/target/release/xftp-server /usr/local/bin/
COPY routers/deploy/xftp-entrypoint /usr/local/bin/
USER xftp
VOLUME /etc/opt/simplex-xftp /var/opt/simplex-xftp /srv/xftp
EXPOSE 443
STOPSIGNAL SIGTERM
ENTRYPOINT ["xftp-entrypoint"]
