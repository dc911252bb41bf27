//! A point on the globe, and how far it is to another.
//!
//! Hundredths of a degree (about a kilometre) in two small integers: exact enough to rank data
//! centres, and a value that hashes and compares.

/// A point, in hundredths of a degree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    latitude: i16,
    longitude: i16,
}

impl Position {
    /// A point from degrees north and east; `None` when they are no point of the globe.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
            return None;
        }
        // In range by the check above: at most 18,000 of an i16's 32,767.
        let hundredths = |degrees: f64| (degrees * 100.0).round() as i16;
        Some(Self { latitude: hundredths(latitude), longitude: hundredths(longitude) })
    }

    /// Degrees north of the equator.
    pub fn latitude(self) -> f64 {
        f64::from(self.latitude) / 100.0
    }

    /// Degrees east of Greenwich.
    pub fn longitude(self) -> f64 {
        f64::from(self.longitude) / 100.0
    }

    /// The nearest whole degree, so that clients of one area share a value.
    pub fn coarse(self) -> Self {
        let whole = |hundredths: i16| (f64::from(hundredths) / 100.0).round() as i16 * 100;
        Self { latitude: whole(self.latitude), longitude: whole(self.longitude) }
    }

    /// Kilometres along the great circle (haversine, a sphere of 6,371 km).
    pub fn distance_km(self, other: Self) -> f64 {
        let (lat1, lat2) = (self.latitude().to_radians(), other.latitude().to_radians());
        let half_lat = (lat2 - lat1) / 2.0;
        let half_lon = (other.longitude() - self.longitude()).to_radians() / 2.0;
        let h = half_lat.sin().powi(2) + lat1.cos() * lat2.cos() * half_lon.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * h.sqrt().min(1.0).asin()
    }
}

const EARTH_RADIUS_KM: f64 = 6_371.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distances() {
        let beijing = Position::new(39.90, 116.40).unwrap();
        let shanghai = Position::new(31.23, 121.47).unwrap();
        let km = beijing.distance_km(shanghai);
        assert!((1_050.0..1_090.0).contains(&km), "{km}");
        assert_eq!(beijing.distance_km(beijing), 0.0);
        let (south, north) =
            (Position::new(-90.0, 0.0).unwrap(), Position::new(90.0, 0.0).unwrap());
        assert!((20_014.0..20_016.0).contains(&south.distance_km(north)));
    }

    #[test]
    fn what_is_no_point() {
        for (lat, lon) in [(91.0, 0.0), (0.0, 181.0), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(Position::new(lat, lon), None);
        }
        assert!(Position::new(-90.0, -180.0).is_some());
    }

    #[test]
    fn coarse_is_whole_degrees() {
        let place = Position::new(-33.87, 151.21).unwrap().coarse();
        assert_eq!((place.latitude(), place.longitude()), (-34.0, 151.0));
    }
}
